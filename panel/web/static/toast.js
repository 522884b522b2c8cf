// Short messages at the bottom left: said to screen readers, dismissed by keyboard, never above a control.

import { el, setText } from "./dom.js";

const STAYS_MS = 7000;
const MOST = 4;
const CONTROLS = "a[href], button, input, select, textarea, summary, [role='tab'], [tabindex='0']";
const MARGIN = 12;

let stack = null;
let settled = 0;

/** Where the stack may stand: the lowest gap between the controls that are in its way. */
function settle() {
  if (!stack || stack.childElementCount === 0) return;
  const box = stack.getBoundingClientRect();
  const busy = [...document.querySelectorAll(CONTROLS)]
    .filter((node) => !stack.contains(node))
    .map((node) => node.getBoundingClientRect())
    // A pane that is scrolled by keyboard may be as large as the page: it is no button that one would miss.
    .filter((rect) => rect.width > 0 && rect.height > 0 && rect.height < 120 && rect.left < box.right + 4 && rect.right > box.left - 4)
    .filter((rect) => rect.bottom > 0 && rect.top < innerHeight)
    .sort((left, right) => right.bottom - left.bottom);
  // It moves only when it must: a message that jumps about is hard to read.
  const free = busy.every((rect) => rect.bottom + 4 <= box.top || rect.top - 4 >= box.bottom);
  if (settled === stack.childElementCount && free && box.top >= 0 && box.bottom <= innerHeight) return;
  settled = stack.childElementCount;
  let floor = innerHeight - MARGIN;
  for (const rect of busy) {
    if (rect.bottom + 4 <= floor - box.height) break;
    floor = Math.min(floor, rect.top - 4);
  }
  const rise = innerHeight - floor;
  stack.style.bottom = `${floor - box.height < MARGIN ? MARGIN : rise}px`;
  // The end of the page can be scrolled out from under it, and a focused control is.
  document.documentElement.style.setProperty("--pd-toast-space", `${Math.ceil(box.height + 2 * MARGIN)}px`);
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
  return stack;
}

function dismiss(node) {
  clearTimeout(node.timer);
  node.remove();
  settled = 0;
  if (stack.childElementCount === 0) document.documentElement.style.removeProperty("--pd-toast-space");
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
  const node = el("div", { class: "pd-toast", "data-testid": "toast", data: { tone, text } }, words);
  if (action) {
    node.append(el("button", { type: "button", class: "pd-button", on: { click: () => { dismiss(node); action.run(); } } }, action.label));
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
  plan();
  return () => dismiss(node);
}
