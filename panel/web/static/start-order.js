// How a run starts: for each process which stages it went through and how long each took, as it happens.

import { el, keyed, setAttribute, setText } from "./dom.js";
import { shortDuration } from "./format.js";
import { store } from "./store.js";

const GOING = new Set(["pending", "starting", "restarting"]);
// A process that waits for others starts within a second or two of their being ready.
const APART_S = 10;
const views = new WeakMap();

/** The stages with their ends: each lasts until the next one, the last until now, `ready` has no length. */
export function spans(process, now) {
  return process.stages.map((stage, place) => {
    const next = process.stages[place + 1];
    const isLast = next === undefined;
    const ended = stage.name === "ready" ? stage.began_s : (next?.began_s ?? (GOING.has(process.state) ? now : stage.began_s));
    return { name: stage.name, from: stage.began_s, to: Math.max(ended, stage.began_s), isLast };
  });
}

/** The processes of the last start: what was restarted later does not make the first start longer. */
export function lastStart(processes, now) {
  const sorted = [...processes].sort((one, other) => one.stages[0].began_s - other.stages[0].began_s);
  let wave = [];
  let end = -Infinity;
  for (const process of sorted) {
    if (process.stages[0].began_s > end + APART_S) wave = [];
    wave.push(process);
    end = Math.max(end, spans(process, now).at(-1).to);
  }
  return wave;
}

function words(process) {
  if (process.state === "pending") return process.after.length > 0 ? `waiting for ${process.after.join(", ")}` : "waiting";
  if (process.state === "ready") return "ready";
  if (GOING.has(process.state)) return process.stage || "starting";
  return process.state;
}

function makeRow(process) {
  const bar = el("div", { class: "pd-order-bar", "aria-hidden": "true" });
  const now = el("span", { class: "pd-order-now" });
  const progress = el("progress", { max: 1, "aria-label": `Loading of ${process.name}` });
  const past = el("span", { class: "pd-order-past" });
  const row = el("li", { class: "pd-order-row", data: { started: process.name } },
    el("span", { class: "pd-name", data: { role: process.role } }, process.name), bar, el("span", { class: "pd-order-words" }, now, progress, past));
  views.set(row, { bar, now, progress, past });
  return row;
}

function drawRow(row, process, from, to, now) {
  const view = views.get(row);
  const all = spans(process, now);
  setAttribute(row, "data-state", process.state);
  setText(view.now, words(process));
  setAttribute(view.progress, "hidden", process.progress === null || process.state !== "starting");
  if (process.progress !== null) setAttribute(view.progress, "value", process.progress);
  const told = all.filter((span) => span.name !== "ready").map((span) => `${span.name} ${shortDuration(span.to - span.from)}`);
  setText(view.past, told.join(" · "));
  keyed(view.bar, all.filter((span) => span.to > span.from), (span) => `${span.name}${span.from}`,
    (span) => el("i", { data: { stage: span.name } }),
    (part, span) => {
      part.style.left = `${(100 * (span.from - from)) / (to - from)}%`;
      part.style.width = `${(100 * (span.to - span.from)) / (to - from)}%`;
    });
}

/** Returns {node, update(run), tick(run)}. */
export function startOrder() {
  const title = el("summary");
  const list = el("ul", { class: "pd-order-list", tabindex: 0, "aria-label": "Start order" });
  const node = el("details", { class: "pd-order", "data-testid": "start-order" }, title, list);
  let wasGoing = false;

  function draw(run) {
    // Those without stages were ready before anybody looked.
    const shown = run.processes.filter((process) => process.stages.length > 0);
    const going = run.processes.some((process) => GOING.has(process.state));
    // Nobody here saw how an attached run started: what its processes went through is only when they answered.
    setAttribute(node, "hidden", run.attached || shown.length === 0);
    if (node.hidden) return;
    if (going !== wasGoing) {
      // Open while something happens, out of the way afterwards; in between the person decides.
      node.open = going;
      wasGoing = going;
    }
    const now = store.now();
    const wave = lastStart(shown, now);
    const from = Math.min(...wave.map((process) => process.stages[0].began_s));
    const to = Math.max(...wave.map((process) => spans(process, now).at(-1).to), from + 1);
    const ready = run.processes.filter((process) => process.state === "ready").length;
    const whose = wave.length < shown.length ? `Last start: ${wave.map((process) => process.name).join(", ")}` : "Start order";
    setText(title, going ? `Starting: ${ready} of ${run.processes.length} ready after ${shortDuration(now - from)}` : `${whose}, ${shortDuration(to - from)} in all`);
    if (!node.open) return;
    const sorted = [...wave].sort((one, other) => (one.started_s ?? Infinity) - (other.started_s ?? Infinity));
    keyed(list, sorted, (process) => process.name, makeRow, (row, process) => drawRow(row, process, from, to, now));
  }

  let latest = null;
  node.addEventListener("toggle", () => {
    if (node.open && latest) draw(latest);
  });
  return {
    node,
    update(run) {
      latest = run;
      draw(run);
    },
    tick(run) {
      if (wasGoing) draw(run);
    },
  };
}
