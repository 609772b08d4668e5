// The page's words, in the reader's language. texts.json is the one table of them.

const table = await (await fetch("texts.json")).json();
const CHOICE = "asyncauth-sandbox-language";

export let language = remembered() ?? preferred();

function remembered() {
  try {
    const choice = localStorage.getItem(CHOICE);
    return choice in table ? choice : null;
  } catch {
    return null; // storage may be forbidden
  }
}

function preferred() {
  for (const wish of navigator.languages ?? []) {
    const name = wish.slice(0, 2).toLowerCase();
    if (name in table) return name;
  }
  return "en";
}

export function speak(choice) {
  language = choice in table ? choice : "en";
  try {
    localStorage.setItem(CHOICE, language);
  } catch {
    // then it is asked again next time
  }
  translate();
}

export const knows = (key) => key in table[language];

/** The text of a key with its {names} filled in; a key that is in no table reads as its last part. */
export function say(key, values = {}) {
  const text = table[language][key] ?? key.split(".").pop().replaceAll("_", " ");
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** The text for a number of things: "key.one" or "key.other". */
export function count(key, number) {
  return say(`${key}.${new Intl.PluralRules(language).select(number) === "one" ? "one" : "other"}`, {
    n: number.toLocaleString(language),
  });
}

/** Write every text that stands in the page by its key. */
export function translate(root = document) {
  document.documentElement.lang = language;
  for (const element of root.querySelectorAll("[data-text]")) element.textContent = say(element.dataset.text);
  for (const element of root.querySelectorAll("[data-label]"))
    element.setAttribute("aria-label", say(element.dataset.label));
}

const STEPS = [
  ["unit.year", 365 * 86400, "unit.day", 86400],
  ["unit.day", 86400, "unit.hour", 3600],
  ["unit.hour", 3600, "unit.minute", 60],
  ["unit.minute", 60, "unit.second", 1],
];

/** Seconds as people say them: two units at most. */
export function duration(seconds) {
  const sign = seconds < 0 ? "−" : "";
  const size = Math.abs(seconds);
  for (const [unit, length, smaller, part] of STEPS) {
    if (size < length) continue;
    const rest = Math.floor((size % length) / part);
    return `${sign}${Math.floor(size / length)} ${say(unit)}${rest ? ` ${rest} ${say(smaller)}` : ""}`;
  }
  const digits = size < 10 && !Number.isInteger(size) ? 1 : 0;
  const text = size.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return `${sign}${text} ${say("unit.second")}`;
}
