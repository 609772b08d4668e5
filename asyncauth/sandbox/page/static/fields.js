// One input for one value, as the sandbox describes it: number, flag, text, names, object, or one of some choices.

import { make, newId } from "./dom.js";

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
    this.input = description.choices ? choices(description) : plain(description);
    this.input.id = newId();
    this.input.dataset.name = this.name;
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
    return make("div", { class: this.kind === "flag" ? "field flag" : "field" }, this.label, entry, ...more);
  }

  get value() {
    return this.kind === "flag" ? this.input.checked : READERS[this.kind](this.input.value.trim());
  }

  valid() {
    this.input.setCustomValidity("");
    try {
      const empty = this.input.value.trim() === "" && !this.optional && this.kind === "number";
      if (empty || this.value === undefined) throw new Error("?");
    } catch {
      this.input.setCustomValidity("?");
    }
    const fine = this.input.checkValidity();
    this.input.setAttribute("aria-invalid", String(!fine));
    return fine;
  }

  /** Show a value, unless the reader is entering another. */
  show(value) {
    if (this.busy || (document.activeElement === this.input && this.kind !== "flag")) return;
    if (this.kind === "flag") this.input.checked = value === true;
    else this.input.value = value === null || value === undefined ? "" : WRITERS[this.kind](value);
    this.input.removeAttribute("aria-invalid");
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
