// The requests as they come: the newest on top, a hundred at most, and a button that holds the list still.

import { make, write } from "./dom.js";
import { count, language, say } from "./texts.js";

const MOST = 100;

export class Requests {
  constructor(titles) {
    this.titles = titles;
    this.body = document.getElementById("rows");
    this.none = document.getElementById("no-requests");
    this.missed = document.getElementById("missed");
    this.button = document.getElementById("pause");
    this.records = [];
    this.lost = 0;
    this.paused = false;
    this.button.addEventListener("click", () => this.pause(!this.paused));
  }

  add({ afresh, missed, records }) {
    if (afresh) {
      this.records = [];
      this.lost = 0;
    }
    this.lost += missed;
    this.records = [...records.toReversed(), ...this.records].slice(0, MOST);
    if (this.paused) return;
    if (afresh || records.length >= MOST) this.body.replaceChildren(...this.records.map((record) => this.row(record)));
    else {
      this.body.prepend(...records.toReversed().map((record) => this.row(record)));
      while (this.body.rows.length > MOST) this.body.lastElementChild.remove();
    }
    this.notes();
  }

  pause(still) {
    this.paused = still;
    this.button.setAttribute("aria-pressed", String(still));
    if (!still) this.render();
  }

  render() {
    if (!this.paused) this.body.replaceChildren(...this.records.map((record) => this.row(record)));
    this.notes();
  }

  notes() {
    this.none.hidden = this.body.rows.length > 0;
    this.missed.hidden = this.lost === 0;
    if (this.lost) write(this.missed, count("requests.missed", this.lost));
  }

  row({ time, system, kind, method, path, status, step, seconds }) {
    const when = new Date(time * 1000);
    const clock = when.toLocaleTimeString(language, { hour12: false, hour: "2-digit", minute: "2-digit", second: "2-digit" });
    const [sign, tone] = verdict(status);
    return make(
      "tr",
      { "data-system": system, "data-kind": kind },
      make("td", { class: "clock" }, clock),
      make(
        "td",
        {},
        make("span", { class: "whose" }, `${this.titles[system] ?? system}${step ? ` · ${step}` : ""}`),
        make("span", { class: "path" }, make("bdi", {}, `${method} ${path}`)),
      ),
      make(
        "td",
        { class: `number status ${tone}` },
        make("span", { "aria-hidden": "true", class: "sign" }, sign),
        status === null ? make("span", { text: "request.unanswered" }, say("request.unanswered")) : String(status),
      ),
      make("td", { class: "number" }, (seconds * 1000).toLocaleString(language, { maximumFractionDigits: 0 })),
    );
  }
}

function verdict(status) {
  if (status === null) return ["✕", "bad"];
  if (status < 300) return ["✓", "good"];
  if (status < 400) return ["→", "fair"];
  return status < 500 ? ["!", "fair"] : ["✕", "bad"];
}
