// The switches of one plan of faults: a row for each kind that the sandbox describes.

import { announce, make, newId, write } from "./dom.js";
import { Field } from "./fields.js";
import { count, knows, say } from "./texts.js";

class Row {
  constructor(kind, scope, turn) {
    this.kind = kind.kind;
    this.turn = turn;
    this.scope = scope.map((one) => new Field(one, `field.${one.name}`, () => this.again()));
    this.details = kind.details.map((one) => new Field(one, `field.${one.name}`, () => this.again()));
    this.descriptions = new Map(kind.details.map((one) => [one.name, one]));
    this.state = make("span", { class: "state", id: newId() });
    const help = make("p", { class: "help", id: newId(), text: `fault.${this.kind}.help` });
    this.input = make("input", {
      type: "checkbox",
      role: "switch",
      id: newId(),
      "data-fault": this.kind,
      "aria-describedby": `${help.id} ${this.state.id}`,
      onchange: () => this.order(),
    });
    const fields = [...kind.details.map((one, index) => this.details[index].row(one.unit)), ...this.scope.map((one) => one.row())];
    this.options = make("details", { class: "options" }, make("summary", {}, make("span", { text: "options" }), make("span", { class: "unseen" }, " "), make("span", { class: "unseen", text: `fault.${this.kind}` })), ...fields);
    this.element = make(
      "li",
      { class: "fault" },
      make(
        "div",
        { class: "line" },
        make("span", { class: "name" }, this.input, make("label", { for: this.input.id, text: `fault.${this.kind}` })),
        this.state,
      ),
      knows(`fault.${this.kind}.help`) ? help : null,
      this.options,
    );
  }

  /** The fault as it is set up here; null if an option can't be used. */
  fault() {
    const fields = [...this.details, ...this.scope];
    if (!fields.every((field) => field.valid())) return null;
    const given = fields.map((field) => [field.name, field.value]).filter(([, value]) => value !== null);
    return { kind: this.kind, ...Object.fromEntries(given) };
  }

  again() {
    if (this.input.checked) this.order();
  }

  async order() {
    const fault = this.fault();
    if (fault === null) {
      this.input.checked = false;
      this.options.open = true; // where the reason stands
      announce(say("options.unusable"));
      return;
    }
    this.busy = true;
    const obeyed = await this.turn(fault, this.input.checked);
    this.busy = false;
    if (!obeyed) this.input.checked = !this.input.checked;
  }

  show(pending) {
    const fault = pending.find((one) => one.kind === this.kind);
    if (!this.busy) this.input.checked = fault !== undefined;
    write(this.state, fault === undefined ? say("off") : fault.times ? count("left", fault.times) : say("on"));
    this.state.classList.toggle("on", fault !== undefined);
    if (fault === undefined || this.busy) return;
    for (const field of this.details) field.show(fault[field.name] ?? this.descriptions.get(field.name).default);
  }
}

export class Plan {
  /** @param {(plan: string, fault: object, on: boolean) => Promise<boolean>} turn Gives the order. */
  constructor(description, turn) {
    this.name = description.name;
    const order = (fault, on) => turn(this.name, fault, on);
    this.rows = description.kinds.map((kind) => new Row(kind, description.scope, order));
    this.total = make("span", { class: "total" });
    const list = make("ul", { class: "faults", role: "list" }, ...this.rows.map((row) => row.element));
    this.element = make(
      "details",
      { class: "plan", "data-plan": this.name },
      make("summary", {}, make("h4", { text: `plan.${this.name}` }), this.total),
      list,
    );
  }

  show(pending) {
    for (const row of this.rows) row.show(pending);
    const on = this.rows.filter((row) => pending.some((fault) => fault.kind === row.kind)).length;
    write(this.total, on ? count("faults.on", on) : say("faults.none"));
    this.total.classList.toggle("on", on > 0);
  }
}
