// One system: its address, its counts, its tokens, and a switch for everything that can be set.

import { announce, make, newId, write } from "./dom.js";
import { Plan } from "./faults.js";
import { Field } from "./fields.js";
import { order } from "./orders.js";
import { count, duration, knows, language, say } from "./texts.js";
import { Tokens } from "./tokens.js";

const COUNTS = ["token_requests", "tokens_issued", "token_peak", "refresh_reuse", "api_requests", "api_ok", "api_refused"];

export class System {
  /** @param {(state: object) => void} changed Called with what the sandbox answers to an order. */
  constructor(description, changed) {
    this.name = description.name;
    this.title = description.title;
    this.changed = changed;
    this.tokens = new Tokens((fingerprint) => this.revoke({ fingerprint }));
    this.plans = description.plans.map((plan) => new Plan(plan, (...what) => this.turn(...what)));
    this.settings = description.settings.map((one) => {
      const setting = new Setting(one, (value) => this.set({ [one.name]: value }, (why) => setting.field.complain(why)));
      return setting;
    });
    this.login = new Map(["username", "password"].map((name) => [name, make("code", {})]));
    this.step = make(
      "select",
      { label: "revoke.which" },
      make("option", { value: "", text: "revoke.all" }),
      ...description.steps.map((step) => make("option", { value: step }, step)),
    );
    this.address = make("code", {});
    this.state = make("span", { class: "badge" });
    this.numbers = new Map(COUNTS.map((name) => [name, make("dd", {})]));
    this.refuse = new Field({ name: "refuse_connections", input: "flag" }, "setting.refuse_connections", () =>
      this.set({ refuse_connections: this.refuse.value }),
    );
    this.element = this.build(description);
  }

  build({ name, title, settings }) {
    const heading = newId();
    const timed = this.settings.filter((_, index) => settings[index].unit === "s");
    const others = this.settings.filter((_, index) => settings[index].unit !== "s");
    return make(
      "section",
      { class: "card system", "aria-labelledby": heading, "data-system": name },
      make("div", { class: "heading" }, make("h2", { id: heading }, title), this.state),
      make("p", { class: "address" }, this.address),
      make("dl", { class: "login" }, ...[...this.login].map(([key, place]) => this.copied(key, place))),
      make("p", { class: "help echo", text: `echo.${name}` }),
      make(
        "dl",
        { class: "counts" },
        ...[...this.numbers].map(([key, number]) => make("div", {}, make("dt", { text: `count.${key}` }), number)),
      ),
      this.part("tokens", this.tokens.total, this.tokens.list, this.tokens.none, this.tokens.more, this.revocation()),
      this.part("times", null, ...timed.map((setting) => setting.row)),
      this.part(
        "faults",
        null,
        this.refuse.row(null, make("p", { class: "help", text: "setting.refuse_connections.help" })),
        ...this.plans.map((plan) => plan.element),
      ),
      this.part(
        "behaviour",
        null,
        make(
          "details",
          { class: "plan" },
          make("summary", {}, make("h4", { text: "behaviour.all" })),
          ...others.map((setting) => setting.row),
          make(
            "p",
            { class: "actions" },
            make("button", { type: "button", class: "abort", text: "abort", onclick: () => this.abort() }),
          ),
        ),
      ),
    );
  }

  part(key, beside, ...children) {
    const id = newId();
    const heading = make("div", { class: "heading" }, make("h3", { id, text: key }), beside);
    return make("div", { class: `part ${key}`, role: "group", "aria-labelledby": id, tabindex: "-1" }, heading, ...children);
  }

  copied(key, place) {
    const button = make(
      "button",
      { type: "button", class: "small copy", "data-copies": key, onclick: () => copy(place) },
      make("span", { text: "copy" }),
      make("span", { class: "unseen" }, ` ${this.title} `),
      make("span", { class: "unseen", text: `login.${key}` }),
    );
    return make("div", {}, make("dt", { text: `login.${key}` }), make("dd", {}, place, button));
  }

  revocation() {
    const button = make("button", {
      type: "button",
      class: "revoke",
      text: "revoke",
      onclick: () => this.revoke(this.step.value ? { step: this.step.value } : {}),
    });
    return make("p", { class: "actions" }, this.step, button);
  }

  async revoke(which) {
    const answer = await order("revoke", { system: this.name, ...which });
    if (answer) announce(`${this.title}: ${count("revoked", answer.revoked[this.name])}`);
  }

  async abort() {
    const answer = await order("abort", { system: this.name });
    if (answer) announce(`${this.title}: ${say("aborted")}`);
  }

  async set(changes, refused) {
    return this.take(await order("settings", { [this.name]: changes }, refused));
  }

  async turn(plan, fault, on) {
    return this.take(await order("fault", { system: this.name, plan, fault, on }));
  }

  take(answer) {
    this.changed(answer);
    return answer !== null;
  }

  /** Show this state; `lead` is how far the server's clock is ahead of the page's, in seconds. */
  show(state, lead) {
    write(this.address, state.url);
    for (const [name, place] of this.login) write(place, state.login[name]);
    write(this.state, say(state.accepting ? "accepting" : "refusing"));
    this.state.classList.toggle("bad", !state.accepting);
    this.refuse.show(!state.accepting);
    for (const [name, place] of this.numbers) write(place, state.counts[name].toLocaleString(language));
    const alive = Object.values(state.living_tokens).reduce((sum, number) => sum + number, 0);
    this.tokens.show(state.tokens, alive, lead);
    for (const plan of this.plans) plan.show(state[plan.name]);
    for (const setting of this.settings) setting.show(state.settings[setting.name]);
  }
}

async function copy(place) {
  try {
    await navigator.clipboard.writeText(place.textContent);
    announce(say("copied"));
  } catch {
    // Not allowed, or not over plain http to another machine: it is marked, to be copied by hand.
    getSelection().selectAllChildren(place);
    announce(say("copy.failed"));
  }
}

class Setting {
  constructor(description, changed) {
    this.name = description.name;
    this.field = new Field(description, `setting.${this.name}`, () => changed(this.field.value));
    this.said = description.unit === "s" ? make("span", { class: "said", id: newId() }) : null;
    const help = `setting.${this.name}.help`;
    const note = knows(help) ? make("p", { class: "help", id: newId(), text: help }) : null;
    // What could not be used is not left standing as if it were so; why is still said.
    this.field.input.addEventListener("blur", () => this.field.error.hidden || this.show(this.value));
    this.field.describe(...[note, this.said].filter((one) => one !== null));
    this.row = this.field.row(description.unit, this.said, note);
  }

  show(value) {
    this.value = value;
    this.field.show(value);
    if (this.said) write(this.said, Math.abs(value) >= 60 ? `= ${duration(value)}` : "");
  }
}
