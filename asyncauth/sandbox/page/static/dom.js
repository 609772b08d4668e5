// Elements, made without markup: what a server sends can only become text.

/** An element: attributes by name, "text" a key of texts.json, "on…" a listener, the rest its children. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "text") element.dataset.text = value;
    else if (name === "label") element.dataset.label = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Set an element's text, if it has another. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

let last = 0;

/** An id that no other element has. */
export const newId = () => `e${++last}`;

let fading;

/** Say something to everybody: it is shown for a while, and read out once. */
export function announce(text) {
  const place = document.getElementById("announcement");
  clearTimeout(fading);
  place.textContent = text;
  place.classList.add("shown");
  fading = setTimeout(() => place.classList.remove("shown"), 6000);
}
