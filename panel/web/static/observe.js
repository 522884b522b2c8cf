// The Observe tab: numbers, toolbar and sections of charts over one time base; says what data it needs while it is seen.

import { address } from "./address.js";
import { el, openTab, setHidden } from "./dom.js";
import { saveCsv } from "./download.js";
import { limitOf } from "./line-rate.js";
import { groupsOf, SECTIONS } from "./observe-charts.js";
import { past } from "./observe-past.js";
import { Sections } from "./observe-sections.js";
import { observeTiles } from "./observe-tiles.js";
import { observeToolbar, WINDOWS } from "./observe-toolbar.js";
import { store } from "./store.js";
import { Timebase } from "./timebase.js";

const LIVE_S = 3600;
// What the numbers on top show.
const ALWAYS = ["kv", "nic", "queues", "tokens", "latency"];
const HINT = "Drag over a chart to zoom. On a chart: arrow keys move the cursor, + and - zoom, Esc resets.";

export function observe(island) {
  const timebase = new Timebase();
  const tiles = observeTiles();
  let trouble = "";
  let wide = false;
  const toolbar = observeToolbar({ window: choose, pause: () => timebase.pause(!timebase.paused), reset: () => timebase.setZoom(null), csv });
  const sections = new Sections(timebase, limitOf, () => {
    want();
    if (timebase.past) choose(timebase.windowS);
    else show();
  });
  const empty = el(
    "div",
    { class: "pd-empty", "data-testid": "observe-empty" },
    el("h3", {}, "Nothing to observe yet"),
    el("p", {}, "Deploy a run, then send it a prompt: the KV cache that prefill hands to decode shows up here."),
    el("button", { type: "button", class: "pd-button pd-primary", on: { click: () => openTab("deploy") } }, "Go to Deploy"),
  );
  const body = el("div", { class: "pd-stack" }, tiles.node, toolbar.node, sections.node);
  island.append(empty, body);

  function isSeen() {
    return wide && !document.hidden;
  }

  function groups() {
    return [...new Set([...ALWAYS, ...groupsOf(sections.open())])];
  }

  function want() {
    store.want("observe", isSeen() && store.run() !== null ? groups() : []);
  }

  async function choose(seconds) {
    trouble = "";
    address.set("window", seconds === 300 ? null : seconds);
    if (seconds <= LIVE_S) {
      store.setWindow(seconds);
      timebase.setWindow(seconds);
      return;
    }
    const run = store.selected;
    try {
      const found = await past(run, seconds, store.edge(), groups(), true);
      if (store.selected === run) timebase.setWindow(seconds, found);
    } catch (error) {
      trouble = error.message;
      tell();
    }
  }

  async function csv(all) {
    const [begin, end] = timebase.range();
    const run = store.selected;
    try {
      const found = all ? await past(run, end - begin, end, groupsOf(SECTIONS)) : timebase;
      saveCsv(run, found.frame, found.series, begin, end);
      trouble = "";
    } catch (error) {
      trouble = error.message;
    }
    tell();
  }

  /** Why a chart of this run has nothing to show, beyond what the chart itself knows. */
  function explain(chart) {
    const isUnified = store.run()?.mode === "unified";
    const isTransfer = ["kv", "transfer", "transfer_size"].includes(chart.group);
    return isUnified && isTransfer ? "A unified run keeps its KV cache in one worker: nothing travels." : "";
  }

  function tell() {
    let text = HINT;
    if (trouble) text = trouble;
    else if (timebase.past) text = `The past up to ${new Date(timebase.past.to * 1000).toLocaleTimeString("sv-SE")}: choose the window again for what came since.`;
    else if (timebase.paused) text = "Paused: samples are still taken.";
    else if (timebase.zoom) text = "Zoomed in: double-click or Reset zoom to follow again.";
    toolbar.update(timebase, text);
  }

  function show() {
    if (!isSeen()) return;
    sections.look(explain, timebase.frame.times.length === 0);
    tiles.update(store.edge() - Math.min(LIVE_S, timebase.windowS));
    sections.tick();
    tell();
  }

  store.on(["runs", "selected"], () => {
    const none = store.run() === null;
    setHidden(empty, !none);
    setHidden(body, none);
    want();
  });
  store.addEventListener("selected", () => {
    timebase.pause(false);
    choose(Math.min(LIVE_S, timebase.windowS));
  });
  store.on(["samples"], show);
  timebase.on(["view"], () => {
    tell();
    if (timebase.past) show();
  });
  // A tab that is opened asks for its data and draws at once; one that is left asks for no more than others need.
  new ResizeObserver((entries) => {
    wide = entries.at(-1).contentRect.width > 0;
    want();
    show();
  }).observe(island);
  document.addEventListener("visibilitychange", show);
  const asked = Number(address.get("window"));
  if (WINDOWS.some(([, seconds]) => seconds === asked && seconds <= LIVE_S)) choose(asked);
}
