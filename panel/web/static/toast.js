// Short messages at the bottom left: said to screen readers, dismissed by keyboard, never above a control.
//
// Where the window has no room for all of them the newest is shown in a smaller form, and a button opens the rest.

import { el, setText } from "./dom.js";
import { controls, isFree, lowestPlace, MARGIN } from "./toast-place.js";

const STAYS_MS = 7000;
const MOST = 4;
// A page that changes by itself moves its controls below a message that stands.
const LOOK_MS = 500;
// From all messages to a mark that there are some; shell.css has their looks.
const FORMS = ["all", "line", "short", "mark"];

let stack = null;
let settled = 0;
let asked = false;
let looking = null;

/** Takes the largest form that has a free place, and the lowest one of those. */
function settle() {
  if (!stack || stack.childElementCount === 0) return;
  const busy = controls(stack);
  const count = stack.childElementCount;
  // It moves only when it must: a message that jumps about is hard to read.
  if (settled === count && (asked || isFree(stack.getBoundingClientRect(), busy))) return;
  settled = count;
  // Who goes through them by keyboard sees them all: nothing that has the focus is hidden.
  const forms = asked || stack.querySelector(":focus-visible") ? FORMS.slice(0, 1) : FORMS;
  let spot = null;
  for (const form of forms) {
    stack.dataset.form = form;
    const box = stack.getBoundingClientRect();
    spot = asked ? null : lowestPlace(box.width, box.height, busy);
    if (spot) break;
  }
  stack.style.left = `${spot?.left ?? MARGIN}px`;
  stack.style.bottom = `${spot?.bottom ?? MARGIN}px`;
  for (const node of stack.children) setText(node.querySelector(".pd-toast-more"), restLabel(count));
  // The end of the page can be scrolled out from under it, and a focused control is.
  const height = stack.getBoundingClientRect().height;
  document.documentElement.style.setProperty("--pd-toast-space", `${Math.ceil(height + 2 * MARGIN)}px`);
}

function restLabel(count) {
  if (stack.dataset.form === "mark") return count > 1 ? `${count} messages` : "Message";
  return count > 1 ? `${count - 1} more` : "Read";
}

/** Shows all messages whatever is below them, because a person asked; until the focus leaves them. */
function open(node) {
  asked = true;
  settled = 0;
  settle();
  node.querySelector(".pd-toast-close").focus();
}

let planned = 0;
function plan() {
  cancelAnimationFrame(planned);
  planned = requestAnimationFrame(settle);
}

function place() {
  if (stack?.isConnected) return stack;
  stack = el("section", { class: "pd-toasts", "aria-label": "Messages", "data-testid": "toasts" });
  (document.querySelector(".gradio-container") ?? document.body).append(stack);
  addEventListener("scroll", plan, { passive: true, capture: true });
  addEventListener("resize", plan, { passive: true });
  new ResizeObserver(plan).observe(stack);
  stack.addEventListener("focusout", (event) => {
    if (!asked || stack.contains(event.relatedTarget)) return;
    asked = false;
    settled = 0;
    plan();
  });
  return stack;
}

function dismiss(node) {
  clearTimeout(node.timer);
  node.remove();
  settled = 0;
  if (stack.childElementCount === 0) {
    asked = false;
    clearInterval(looking);
    looking = null;
    document.documentElement.style.removeProperty("--pd-toast-space");
  }
  plan();
}

function count(node, ms) {
  clearTimeout(node.timer);
  if (ms > 0) node.timer = setTimeout(() => dismiss(node), ms);
}

/**
 * Says one sentence. `tone` is idle, good or bad; a bad one stays until it is dismissed. `action` is {label, run}.
 * Returns a function that takes the message away.
 */
export function toast(text, { tone = "idle", action = null, stays = tone === "bad" } = {}) {
  const home = place();
  const same = [...home.children].find((node) => node.dataset.text === text && node.dataset.tone === tone);
  if (same) dismiss(same);
  const ms = stays ? 0 : STAYS_MS;
  const words = el("p", { class: "pd-toast-text", role: tone === "bad" ? "alert" : "status" });
  const before = document.activeElement;
  const close = el("button", { type: "button", class: "pd-button pd-quiet pd-toast-close", "aria-label": "Dismiss message" }, "Dismiss");
  const more = el("button", { type: "button", class: "pd-button pd-quiet pd-toast-more", "data-testid": "toast-more" });
  const node = el("div", { class: "pd-toast", "data-testid": "toast", data: { tone, text } }, words, more);
  more.addEventListener("click", () => open(node));
  if (action) {
    node.append(el("button", { type: "button", class: "pd-button pd-toast-act", on: { click: () => { dismiss(node); action.run(); } } }, action.label));
  }
  node.append(close);
  close.addEventListener("click", () => {
    const back = node.nextElementSibling ?? node.previousElementSibling;
    dismiss(node);
    // Focus goes on in the stack, or to where it was when the message came.
    if (back) back.querySelector(".pd-toast-close").focus();
    else if (before?.isConnected && before !== document.body) before.focus({ preventScroll: true });
  });
  node.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close.click();
  });
  for (const kind of ["pointerenter", "focusin"]) node.addEventListener(kind, () => clearTimeout(node.timer));
  for (const kind of ["pointerleave", "focusout"]) {
    node.addEventListener(kind, () => {
      if (!node.matches(":hover") && !node.contains(document.activeElement)) count(node, ms);
    });
  }
  home.append(node);
  while (home.childElementCount > MOST) dismiss(home.firstElementChild);
  // A live region speaks what changes in it, so it must be there before its text.
  requestAnimationFrame(() => setText(words, text));
  count(node, ms);
  looking ??= setInterval(plan, LOOK_MS);
  plan();
  return () => dismiss(node);
}
