// The first run in three steps, above the tabs until they are done or it is dismissed; the header's Help brings it back.

import { el, openTab, setAttribute, setText } from "./dom.js";
import { store } from "./store.js";

const KEY = "pdpanel-guide";
const LEAVE_MS = 10_000;
const READY = new Set(["ready", "degraded"]);

function kept() {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

function keep(value) {
  try {
    localStorage.setItem(KEY, value);
  } catch {
    // A browser that keeps nothing shows the guide again.
  }
}

function focus(selector) {
  openTab("deploy");
  const node = document.querySelector(selector);
  node?.scrollIntoView({ block: "center" });
  node?.focus({ preventScroll: true });
}

const STEPS = [
  { name: "model", title: "Choose a model", text: "and how many prefill and decode workers.", label: "Go to the form", go: () => focus("#pd-model input") },
  { name: "deploy", title: "Deploy", text: "and watch the processes become ready.", label: "Go to the button", go: () => focus("#deploy-button") },
  { name: "look", title: "Try it and Observe", text: "Send a prompt, and see the KV cache travel.", label: "Open Try it", go: () => openTab("tryit") },
];

let shown = null;

/** Shows the guide again, from its first step. */
export function showGuide() {
  keep("shown");
  shown?.();
}

export function guide(island) {
  const items = STEPS.map((step) => {
    const mark = el("span", { class: "pd-unseen" });
    const button = el("button", { type: "button", class: "pd-button pd-quiet", on: { click: step.go } }, step.label);
    const node = el("li", { data: { step: step.name } }, el("span", {}, el("b", {}, step.title), " ", step.text, mark), button);
    return { ...step, node, mark };
  });
  const close = el("button", { type: "button", class: "pd-button", "data-testid": "guide-close" }, "Hide");
  const end = el("p", { role: "status", "data-testid": "guide-done" });
  const node = el("section", { class: "pd-guide", "aria-label": "First run in three steps", "data-testid": "guide", hidden: true },
    el("div", { class: "pd-cardhead" }, el("h2", {}, "First run in three steps"), close),
    el("ol", { class: "pd-guide-steps" }, ...items.map((item) => item.node)), end);
  island.append(node);
  let looked = false;
  // All steps were done on this visit: it stays for a moment, and on the next visit it is not there.
  let finished = false;
  let asked = false;

  function leave() {
    // Who is just using it is not to lose the place.
    if (!asked && (node.contains(document.activeElement) || node.matches(":hover"))) return void setTimeout(leave, LEAVE_MS);
    finished = asked;
    update();
  }

  function update() {
    const runs = store.list();
    // Who has runs already knows the way.
    node.hidden = (kept() === "hidden" && !finished) || (kept() === "" && store.live.state !== "live");
    if (kept() === "" && runs.some((run) => !store.isActive(run))) node.hidden = true;
    const done = { model: runs.length > 0, deploy: runs.some((run) => READY.has(run.state)), look: looked };
    const current = items.find((item) => !done[item.name]);
    for (const item of items) {
      const state = done[item.name] ? "done" : item === current ? "current" : "later";
      setAttribute(item.node, "data-state", state);
      setAttribute(item.node, "aria-current", state === "current" ? "step" : null);
      setText(item.mark, state === "done" ? " Done." : "");
    }
    if (!current && !finished && !node.hidden) {
      finished = true;
      keep("hidden");
      if (!asked) setTimeout(leave, LEAVE_MS);
    }
    setText(end, current ? "" : "All three steps are done. Help shows them again.");
  }

  document.getElementById("pd-tab-observe-button")?.addEventListener("click", () => {
    looked = store.run() !== null;
    update();
  });
  close.addEventListener("click", () => {
    keep("hidden");
    finished = asked = false;
    update();
    document.querySelector("[data-testid='help']")?.focus();
  });
  shown = () => {
    // Who asks for it keeps it until it is hidden by hand.
    asked = true;
    update();
    node.scrollIntoView({ block: "nearest" });
    close.focus();
  };
  store.on(["runs", "live"], update);
}
