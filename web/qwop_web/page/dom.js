// The page's elements by their ids, with their types.

/** @template {HTMLElement} T @param {new () => T} type @returns {(id: string) => T} */
const getter = (type) => (id) => {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new Error(`the page has no ${type.name} named ${id}`);
  return element;
};

export const $ = getter(HTMLElement);
export const button = getter(HTMLButtonElement);
export const canvas = getter(HTMLCanvasElement);
export const input = getter(HTMLInputElement);
export const link = getter(HTMLAnchorElement);
export const select = getter(HTMLSelectElement);

/** Set an element's text, where it changes. @param {string} id @param {string} value */
export function text(id, value) {
  const element = $(id);
  if (element.textContent !== value) element.textContent = value;
}

/** A button that is not in the page yet. @param {string} label @param {string} of what it acts on, for who sees no table
 *  @param {() => void} action */
export function newButton(label, of, action) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = label;
  made.setAttribute("aria-label", `${label} ${of}`);
  made.addEventListener("click", action);
  return made;
}
