// Keys that lead somewhere: g and a letter opens a tab, / looks for something, ? explains. Never while somebody types.

import { openTab } from "./dom.js";

const KEY = "pdpanel-shortcuts";
const AFTER_G_MS = 1500;
export const TABS = { d: ["deploy", "Deploy"], t: ["tryit", "Try it"], o: ["observe", "Observe"], b: ["bench", "Benchmark"], l: ["logs", "Logs"], h: ["hardware", "Hardware"], p: ["plan", "Plan"], e: ["export", "Export"] };
const TYPES = "input:not([type='checkbox']):not([type='radio']):not([type='button']), textarea, select, [contenteditable], .cm-editor";

let waits = 0;

export function shortcutsOn() {
  try {
    return localStorage.getItem(KEY) !== "off";
  } catch {
    return true;
  }
}

export function setShortcuts(on) {
  try {
    if (on) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, "off");
  } catch {
    // A browser that keeps nothing has them on at the next load.
  }
}

function openPanel() {
  return [...document.querySelectorAll('#pd-tabs [role="tabpanel"]')].find((panel) => panel.clientWidth > 0);
}

/** Puts the focus into the search of the open tab; in a tab without one, into that of Logs. */
function search() {
  const field = () => [...(openPanel()?.querySelectorAll("input[type='search']") ?? [])].find((node) => node.clientWidth > 0);
  if (field()) {
    field().focus();
    return;
  }
  openTab("logs");
  requestAnimationFrame(() => field()?.focus());
}

/** Begins to listen; `help` is called for the question mark. */
export function listenForKeys(help) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || !shortcutsOn()) return;
    if (event.target.closest?.(TYPES) || document.querySelector("dialog[open]")) return;
    const afterG = event.timeStamp - waits < AFTER_G_MS;
    waits = 0;
    if (afterG && event.key === "r") document.querySelector("[data-testid='run-picker']")?.focus();
    else if (afterG && TABS[event.key]) {
      const [id] = TABS[event.key];
      openTab(id);
      document.getElementById(`pd-tab-${id}-button`)?.focus();
    } else if (event.key === "g") waits = event.timeStamp;
    else if (event.key === "/") search();
    else if (event.key === "?") help();
    else return;
    event.preventDefault();
  });
}
