// The controls above the charts: time window, pause, zoom, download.

import { el, setAttribute, setHidden, setText } from "./dom.js";

export const WINDOWS = [
  ["1 min", 60],
  ["5 min", 300],
  ["15 min", 900],
  ["1 h", 3600],
  ["6 h", 21_600],
  ["24 h", 86_400],
  ["30 d", 2_592_000],
];

/** The toolbar; `acts` are {window(seconds), pause(), reset(), csv(all)}. */
export function observeToolbar(acts) {
  const windows = el("div", { class: "pd-segments pd-windows", role: "group", "aria-label": "Time window" });
  for (const [label, seconds] of WINDOWS) {
    const button = el("button", { type: "button", class: "pd-button", data: { window: seconds } }, label);
    button.addEventListener("click", () => acts.window(seconds));
    windows.append(button);
  }
  const pause = el("button", { type: "button", class: "pd-button", "data-testid": "pause", "aria-pressed": "false", on: { click: acts.pause } }, "Pause");
  const reset = el("button", { type: "button", class: "pd-button", "data-testid": "reset-zoom", hidden: true, on: { click: acts.reset } }, "Reset zoom");
  const shown = el("button", { type: "button", class: "pd-button", "data-testid": "csv-shown", on: { click: () => acts.csv(false) } }, "CSV of the open sections");
  const all = el("button", { type: "button", class: "pd-button", "data-testid": "csv-all", on: { click: () => acts.csv(true) } }, "CSV of everything");
  const state = el("span", { class: "pd-hint", role: "status", "data-testid": "observe-state" });
  return {
    node: el("div", { class: "pd-toolbar" }, windows, pause, reset, shown, all, state),
    update(timebase, text) {
      for (const button of windows.children) setAttribute(button, "aria-pressed", String(Number(button.dataset.window) === timebase.windowS));
      setAttribute(pause, "aria-pressed", String(timebase.paused));
      setAttribute(pause, "disabled", timebase.past !== null);
      setText(pause, timebase.paused ? "Resume" : "Pause");
      setHidden(reset, timebase.zoom === null);
      setText(state, text);
    },
  };
}
