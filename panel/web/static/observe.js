// The Observe tab: big current numbers and three charts that share window, pause and zoom.

import { Chart } from "./chart.js";
import { el, isVisible, openTab, setText } from "./dom.js";
import { number } from "./format.js";
import { store } from "./store.js";

const WINDOWS = [
  ["1 min", 60],
  ["5 min", 300],
  ["15 min", 900],
  ["1 h", 3600],
];
const NUMBERS = [
  ["kv", "KV transfer", "MB/s"],
  ["kv-peak", "KV peak in the window", "MB/s"],
  ["requests", "Requests running", ""],
  ["tokens", "Generated tokens", "tokens/s"],
];

/** The series that stands for the whole group: its total, or its only one. */
function whole(group) {
  const found = store.series.filter((series) => series.group === group);
  return found.find((series) => series.total) ?? found[0] ?? null;
}

function now(group) {
  const series = whole(group);
  const value = series ? store.nowValue(series.key) : null;
  return value === null ? null : value * series.scale;
}

function peak(group, fromS) {
  const series = whole(group);
  let best = null;
  for (const [time, values] of store.rows) {
    const value = series ? values[series.key] : undefined;
    if (time >= fromS && value !== undefined && (best === null || value > best)) best = value;
  }
  return best === null ? null : best * series.scale;
}

export function observe(island) {
  const view = { windowS: 300, heldAt: null, rows: null, zoom: null };
  const values = new Map();
  const tiles = NUMBERS.map(([name, label, unit]) => {
    const value = el("span", { class: "pd-big", "data-testid": `now-${name}` }, "–");
    values.set(name, value);
    return el("div", { class: "pd-tile" }, el("dt", {}, label), el("dd", {}, value, unit ? el("span", { class: "pd-unit" }, unit) : null));
  });
  const pause = el("button", { type: "button", class: "pd-button", "data-testid": "pause", "aria-pressed": "false" }, "Pause");
  const reset = el("button", { type: "button", class: "pd-button", "data-testid": "reset-zoom", hidden: true }, "Reset zoom");
  const windows = el("div", { class: "pd-segments", role: "group", "aria-label": "Time window" });
  for (const [label, seconds] of WINDOWS) {
    const pressed = seconds === view.windowS;
    const button = el("button", { type: "button", class: "pd-button", "aria-pressed": pressed ? "true" : "false", data: { window: seconds } }, label);
    button.addEventListener("click", () => {
      view.windowS = seconds;
      for (const other of windows.children) other.setAttribute("aria-pressed", String(other === button));
      zoom(null);
    });
    windows.append(button);
  }
  const state = el("span", { class: "pd-hint", role: "status" });
  const empty = el(
    "div",
    { class: "pd-empty", "data-testid": "observe-empty" },
    el("h3", {}, "Nothing to observe yet"),
    el("p", {}, "Deploy a run, then send it a prompt: the KV cache that prefill hands to decode shows up here."),
    el("button", { type: "button", class: "pd-button pd-primary", on: { click: () => openTab("deploy") } }, "Go to Deploy"),
  );

  function zoom(range) {
    view.zoom = range;
    reset.hidden = range === null;
    draw();
  }

  const shared = { view, onZoom: zoom };
  const kv = new Chart({ name: "kv", title: "KV transfer", group: "kv", unit: "MB/s", height: 320, ...shared });
  const requests = new Chart({ name: "requests", title: "Requests running", group: "requests", unit: "", height: 190, ...shared });
  const tokens = new Chart({ name: "tokens", title: "Generated tokens", group: "tokens", unit: "tokens/s", height: 190, ...shared });
  const charts = [kv, requests, tokens];

  function draw() {
    for (const chart of charts) chart.draw();
  }

  function tell() {
    const hint = view.heldAt !== null ? "Paused: samples are still taken." : view.zoom ? "Zoomed in: double-click or Reset zoom to follow again." : "Drag over a chart to zoom.";
    setText(state, hint);
  }

  pause.addEventListener("click", () => {
    const held = view.heldAt === null;
    view.heldAt = held ? store.now() : null;
    view.rows = held ? [...store.rows] : null;
    pause.setAttribute("aria-pressed", String(held));
    setText(pause, held ? "Resume" : "Pause");
    draw();
    tell();
  });
  reset.addEventListener("click", () => {
    zoom(null);
    tell();
  });

  const body = el(
    "div",
    { class: "pd-stack" },
    el("dl", { class: "pd-tiles pd-tiles-big" }, ...tiles),
    el("div", { class: "pd-toolbar" }, windows, pause, reset, state),
    kv.node,
    el("div", { class: "pd-pair" }, requests.node, tokens.node),
  );
  island.append(empty, body);

  store.on(["runs", "selected"], () => {
    const none = store.run() === null;
    empty.hidden = !none;
    body.hidden = none;
    if (none) return;
    const unified = store.run().mode === "unified";
    kv.emptyText = unified ? "A unified run keeps its KV cache in one worker: nothing travels." : "";
  });
  store.addEventListener("selected", () => {
    if (view.heldAt !== null) pause.click();
    zoom(null);
  });
  store.on(["samples"], () => {
    if (!isVisible(island)) return;
    setText(values.get("kv"), number(now("kv")));
    setText(values.get("kv-peak"), number(peak("kv", store.now() - view.windowS)));
    setText(values.get("requests"), number(now("requests")));
    setText(values.get("tokens"), number(now("tokens")));
    draw();
    tell();
  });
  // A tab that was hidden draws when it is opened, without waiting for the next sample.
  document.addEventListener("visibilitychange", draw);
}
