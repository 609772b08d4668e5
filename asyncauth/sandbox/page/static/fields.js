// One input for one value, as the sandbox describes it: number, flag, text, names, object, or one of some choices.

import { make, newId, write } from "./dom.js";
import { say } from "./texts.js";

const READERS = {
  number: (text) => (text === "" ? null : Number(text)),
  text: (text) => (text === "" ? null : text),
  names: (text) => text.split(/[\s,]+/).filter(Boolean),
  object: (text) => JSON.parse(text),
};

const WRITERS = {
  number: (value) => String(value),
  text: (value) => String(value),
  names: (value) => value.join(", "),
  object: (value) => JSON.stringify(value),
};

export class Field {
  /**
   * @param {object} description What the sandbox says of the value.
   * @param {string} label The key of its name.
   * @param {() => void} changed Called when the reader has entered something that can be used.
   */
  constructor(description, label, changed) {
    this.name = description.name;
    this.kind = description.input;
    this.optional = description.optional === true;
    this.busy = false;
    this.error = make("p", { class: "error", id: newId(), hidden: true });
    this.input = description.choices ? choices(description) : plain(description);
    this.input.id = newId();
    this.input.dataset.name = this.name;
    this.input.setAttribute("aria-describedby", this.error.id);
    this.input.addEventListener("input", () => this.complain(null));
    this.input.addEventListener("change", () => {
      if (this.valid()) changed();
    });
    this.label = make("label", { for: this.input.id, text: label });
    this.show(description.initial);
  }

  /** The label, the input and its unit, as one row. */
  row(unit, ...more) {
    const end = unit ? make("span", { class: "unit", text: `unit.${unit}` }) : null;
    const entry = make("span", { class: "entry" }, this.input, end);
    return make("div", { class: this.kind === "flag" ? "field flag" : "field" }, this.label, entry, ...more, this.error);
  }

  /** Have the input described by these elements as well. */
  describe(...elements) {
    this.input.setAttribute("aria-describedby", [...elements, this.error].map((one) => one.id).join(" "));
  }

  /** Say why the value can't be used, beside it; null: it can. */
  complain(why) {
    this.error.hidden = why === null;
    write(this.error, why ?? "");
    if (why === null) this.input.removeAttribute("aria-invalid");
    else this.input.setAttribute("aria-invalid", "true");
  }

  get value() {
    return this.kind === "flag" ? this.input.checked : READERS[this.kind](this.input.value.trim());
  }

  valid() {
    const why = this.objection();
    this.complain(why);
    return why === null;
  }

  /** Why the value can't be used, in words; null: it can. */
  objection() {
    const { badInput, rangeUnderflow, rangeOverflow, stepMismatch } = this.input.validity;
    if (rangeUnderflow) return say("error.min", { n: this.input.min });
    if (rangeOverflow) return say("error.max", { n: this.input.max });
    if (stepMismatch) return say("error.whole");
    const empty = this.input.value.trim() === "" && !this.optional && this.kind === "number";
    if (badInput || empty) return say("error.number");
    try {
      return this.value === undefined ? say("error.number") : null;
    } catch {
      return say("error.object");
    }
  }

  /** Show a value, unless the reader is entering another. */
  show(value) {
    if (this.busy || (document.activeElement === this.input && this.kind !== "flag")) return;
    if (this.kind === "flag") this.input.checked = value === true;
    else this.input.value = value === null || value === undefined ? "" : WRITERS[this.kind](value);
    this.input.removeAttribute("aria-invalid"); // what was wrong is still said, until something else is entered
  }
}

function choices(description) {
  const any = make("option", { value: "", text: "any" });
  return make("select", {}, any, ...description.choices.map((choice) => make("option", { value: choice }, choice)));
}

function plain({ input, min, max, whole }) {
  if (input === "flag") return make("input", { type: "checkbox", role: "switch" });
  if (input === "number")
    return make("input", { type: "number", inputmode: "decimal", min, max, step: whole ? 1 : "any", autocomplete: "off" });
  return make("input", { type: "text", autocomplete: "off", spellcheck: "false", autocapitalize: "off" });
}
