// Above the charts: one sentence that says what limits the run now, the numbers behind it, and what to try.

import { deploymentOf, verdictOf } from "./actions.js";
import { el, keyed, openTab, setAttribute, setHidden, setText } from "./dom.js";
import { plan } from "./plan-store.js";
import { store } from "./store.js";
import { toast } from "./toast.js";
import { scaled } from "./units.js";

const ASK_MS = 2000;
const LIVING = new Set(["starting", "ready", "degraded", "unsupervised"]);
const TITLES = {
  prefill: "Prefill", decode: "Decode", unified: "Unified worker", transfer: "Transfer", router: "Router", nothing: "Nothing", unknown: "Unknown",
};

/** A value of the evidence as people read it. */
export function amount(one) {
  if (one.unit === "share") return `${Math.round(100 * one.value)} %`;
  if (one.unit === "cores") return `${one.value.toFixed(2)} cores`;
  const { divisor, label } = scaled(one.unit, Math.abs(one.value));
  return `${Number((one.value / divisor).toPrecision(3))} ${label || one.unit}`;
}

/** Opens the run's deployment in Plan with the fields changed that a suggestion names. */
async function openPlan(run, changes) {
  try {
    const text = await deploymentOf(run.id);
    plan.begin({ kind: "run", name: `the deployment of ${run.name || run.id}`, text });
    for (const [path, value] of Object.entries(changes)) plan.take(path, String(value));
    openTab("plan");
    toast("The changed deployment is open in Plan. Nothing has been started.", { tone: "good" });
  } catch (error) {
    toast(error.message, { tone: "bad" });
  }
}

function suggestion() {
  const open = el("button", { type: "button", class: "pd-button pd-verdict-open" }, "Open in Plan");
  const text = el("span", {});
  const node = el("li", {}, text, open);
  open.addEventListener("click", () => node.act?.());
  return node;
}

function row() {
  const bar = el("span", { class: "pd-verdict-bar", "aria-hidden": "true" }, el("span", {}));
  return el("tr", {}, el("th", { scope: "row" }), el("td", {}), el("td", {}, bar));
}

function fill(node, one) {
  const [head, value, cell] = node.children;
  setText(head, one.meaning);
  setText(value, amount(one));
  setAttribute(node, "title", one.series);
  const bar = cell.firstChild;
  setHidden(bar, !one.of);
  if (!one.of) return;
  const width = `${Math.round(Math.min(100, (100 * one.value) / one.of))}%`;
  if (bar.firstChild.style.width !== width) bar.firstChild.style.width = width;
}

export function verdict(island) {
  const mark = el("span", { class: "pd-verdict-mark", "data-testid": "verdict-limit" });
  const says = el("p", { class: "pd-verdict-says", role: "status", "data-testid": "verdict-says" });
  const list = el("ul", { class: "pd-verdict-list", "data-testid": "verdict-suggestions" });
  const tries = el("div", { class: "pd-verdict-tries" }, el("p", { class: "pd-verdict-head" }, "What to try"), list);
  const body = el("tbody", {});
  const head = el("tr", {}, ["What was seen", "Value", "Of the most that it can be"].map((one) => el("th", { scope: "col" }, one)));
  const table = el("table", { class: "pd-verdict-table" }, el("thead", {}, head), body);
  const region = el("div", { class: "pd-verdict-scroll", tabindex: "0", role: "region", "aria-label": "Evidence of the verdict" }, table);
  const caption = el("summary", {}, "Evidence");
  const details = el("details", { class: "pd-verdict-evidence" }, caption, region);
  const section = el("section", { class: "pd-card pd-verdict", "aria-label": "What limits it" },
    el("h3", {}, "What limits it"),
    el("div", { class: "pd-verdict-line" }, mark, says), tries, details);
  island.append(section);
  section.hidden = true;

  let shown = "";
  let busy = false;
  // Told rather than asked: asking makes the browser lay out the page between two changes of it.
  let wide = false;
  let timer = 0;

  function draw(run, found) {
    setAttribute(section, "data-limit", found.limit);
    setText(mark, TITLES[found.limit] ?? found.limit);
    setText(says, found.sentence);
    setHidden(tries, !found.suggestions.length);
    keyed(list, found.suggestions, (one) => one.text, suggestion, (node, one) => {
      const [text, open] = node.children;
      setText(text, one.text);
      setHidden(open, one.action === "");
      setText(open, one.action === "proof" ? "Prove the transport" : "Open in Plan");
      node.act = one.action === "proof"
        ? () => document.querySelector('[data-testid="prove"]')?.click()
        : () => openPlan(run, one.changes);
    });
    setHidden(details, !found.evidence.length);
    setText(caption, `Evidence of the last ${Math.round(found.window_s)} s`);
    keyed(body, found.evidence, (one) => `${one.series} ${one.meaning}`, row, fill);
  }

  async function ask() {
    timer = 0;
    const run = store.run();
    setHidden(section, !run || !LIVING.has(run.state));
    if (section.hidden) shown = "";
    else if (wide && !document.hidden && !busy) {
      busy = true;
      try {
        const found = await verdictOf(run.id);
        if (store.run()?.id === run.id) draw(run, found);
      } catch (error) {
        draw(run, { limit: "unknown", sentence: error.message, suggestions: [], evidence: [], window_s: 0 });
      } finally {
        shown = run.id;
        busy = false;
      }
      timer = setTimeout(ask, ASK_MS);
    }
  }

  // A run that was chosen is asked about at once; then every two seconds for as long as somebody can see it.
  function follow() {
    const run = store.run();
    if (!timer && !busy) ask();
    else if (run && run.id !== shown && !busy) {
      clearTimeout(timer);
      ask();
    }
  }

  store.on(["runs", "selected", "samples"], follow);
  new ResizeObserver((entries) => {
    wide = entries.at(-1).contentRect.width > 0;
    follow();
  }).observe(island);
}
