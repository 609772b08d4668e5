// The requests as they come: the newest on top, a hundred at most, and a button that holds the list still.

import { make, write } from "./dom.js";
import { count, knows, language, say } from "./texts.js";

const MOST = 100;

export class Requests {
  constructor(titles) {
    this.titles = titles;
    this.body = document.getElementById("rows");
    this.none = document.getElementById("no-requests");
    this.missed = document.getElementById("missed");
    this.button = document.getElementById("pause");
    this.records = [];
    this.open = new Set();
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
    const held = new Set(this.records);
    this.open = new Set([...this.open].filter((record) => held.has(record)));
    if (afresh || records.length >= MOST) this.all();
    else {
      this.body.prepend(...records.toReversed().flatMap((record) => this.rows(record)));
      for (const row of [...this.body.querySelectorAll("tr.request")].slice(MOST)) {
        if (row.nextElementSibling?.matches(".more")) row.nextElementSibling.remove();
        row.remove();
      }
    }
    this.notes();
  }

  all() {
    this.body.replaceChildren(...this.records.flatMap((record) => this.rows(record)));
  }

  pause(still) {
    this.paused = still;
    this.button.setAttribute("aria-pressed", String(still));
    if (!still) this.render();
  }

  render() {
    if (!this.paused) this.all();
    this.notes();
  }

  notes() {
    this.none.hidden = this.body.rows.length > 0;
    this.missed.hidden = this.lost === 0;
    if (this.lost) write(this.missed, count("requests.missed", this.lost));
  }

  /** A request's row, and the one below it with all that is known of it, if it is open. */
  rows(record) {
    const row = this.row(record);
    return this.open.has(record) ? [row, more(record)] : [row];
  }

  toggle(record, button) {
    const row = button.closest("tr");
    if (this.open.delete(record)) row.nextElementSibling.remove();
    else {
      this.open.add(record);
      row.after(more(record));
    }
    button.setAttribute("aria-expanded", String(this.open.has(record)));
  }

  row(record) {
    const { time, system, kind, method, path, status, step, seconds } = record;
    const button = make(
      "button",
      { type: "button", class: "path", "aria-expanded": String(this.open.has(record)), onclick: () => this.toggle(record, button) },
      make("bdi", {}, `${method} ${path}`),
    );
    const when = new Date(time * 1000);
    const clock = when.toLocaleTimeString(language, { hour12: false, hour: "2-digit", minute: "2-digit", second: "2-digit" });
    const [sign, tone] = verdict(status);
    return make(
      "tr",
      { class: "request", "data-system": system, "data-kind": kind },
      make("td", { class: "clock" }, clock),
      make(
        "td",
        {},
        make("span", { class: "whose" }, `${this.titles[system] ?? system}${step ? ` · ${step}` : ""}`),
        button,
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

function more({ details }) {
  const { headers, fields, token, issued, why, fault, echo } = details;
  const facts = [
    fault === null ? null : fact("detail.fault", say(`fault.${fault}`)),
    why === null ? null : fact("detail.why", knows(`why.${why}`) ? say(`why.${why}`) : why),
    token === null ? null : fact("detail.token", make("code", {}, token)),
    issued === null ? null : fact("detail.issued", make("code", {}, issued)),
    echo ? fact("detail.echo", say("detail.echo.help")) : null,
    ...fields.map((one) => fact(null, value(one), one.name)),
  ].filter((one) => one !== null);
  const list = make("dl", { class: "headers" }, ...headers.map((one) => fact(null, value(one), one.name)));
  return make(
    "tr",
    { class: "more" },
    make(
      "td",
      { colspan: 4 },
      facts.length ? make("dl", {}, ...facts) : null,
      make("h3", { text: "detail.headers" }, say("detail.headers")),
      list,
    ),
  );
}

function fact(key, text, name = null) {
  const term = key === null ? make("dt", {}, make("code", {}, name)) : make("dt", { text: key }, say(key));
  return make("div", {}, term, make("dd", {}, text));
}

/** A header's or field's value: as it is, or what may be said of it. */
function value({ how, text }) {
  if (how === "plain") return make("code", {}, text);
  if (how === "fingerprint") return make("span", {}, `${say("value.token")} `, make("code", {}, text));
  if (how === "hidden") return count("value.hidden", Number(text));
  return text === "" ? say(`value.${how}`) : make("span", {}, make("code", {}, text), ` (${say(`value.${how}`)})`);
}

function verdict(status) {
  if (status === null) return ["✕", "bad"];
  if (status < 300) return ["✓", "good"];
  if (status < 400) return ["→", "fair"];
  return status < 500 ? ["!", "fair"] : ["✕", "bad"];
}
