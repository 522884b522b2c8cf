// Elements and text. Everything from outside reaches the page here, and only ever as text.

/** Makes an element: props are attributes, `data` a map of data-*, `on` a map of listeners; children are nodes or text. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "data") Object.assign(node.dataset, value);
    else if (name === "on") for (const [kind, run] of Object.entries(value)) node.addEventListener(kind, run);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

/** The same for SVG. */
export function svg(tag, props = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(props)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

/** Sets a node's text, touching the page only when it changed. */
export function setText(node, text) {
  const value = String(text);
  if (node.textContent === value) return;
  const only = node.childNodes.length === 1 ? node.firstChild : null;
  // A text that is put in place of another one is a change of the tree: all who watch that are called, styles are matched anew.
  if (value !== "" && only?.nodeType === Node.TEXT_NODE) only.data = value;
  else node.textContent = value;
}

/** Hides or shows a node, touching the page only when that changed. */
export function setHidden(node, hidden) {
  if (node.hidden !== hidden) node.hidden = hidden;
}

/** Sets or removes an attribute, touching the page only when it changed. */
export function setAttribute(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else {
    const text = value === true ? "" : String(value);
    if (node.getAttribute(name) !== text) node.setAttribute(name, text);
  }
}

/** Makes the children of `parent` those that `make(item)` gave for each key, in order, reusing what is there. */
export function keyed(parent, items, key, make, update) {
  const present = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let previous = null;
  for (const item of items) {
    const id = String(key(item));
    let child = present.get(id);
    if (child) present.delete(id);
    else {
      child = make(item);
      child.dataset.key = id;
    }
    update(child, item);
    const place = previous ? previous.nextSibling : parent.firstChild;
    if (place !== child) parent.insertBefore(child, place);
    previous = child;
  }
  for (const child of present.values()) child.remove();
}

/** True when `node` is in the page and its tab is open. */
export function isVisible(node) {
  return !document.hidden && node.isConnected && node.clientWidth > 0;
}

/** Opens the tab with this id, as a click would. */
export function openTab(id) {
  document.getElementById(`pd-tab-${id}-button`)?.click();
}
