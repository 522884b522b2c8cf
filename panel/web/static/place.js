// Ties the URL's hash to what is open: the tab, and the run that the person chose.

import { address } from "./address.js";
import { openTab } from "./dom.js";
import { store } from "./store.js";
import { toast } from "./toast.js";

const TAB = /^pd-tab-(.+)-button$/;
const FIRST = "deploy";
let linked = null;
const seen = new Set();

/** The id of the open tab, or null before there is one. */
export function openedTab() {
  const node = document.querySelector('#pd-tabs [role="tab"][aria-selected="true"]');
  return node ? (TAB.exec(node.id)?.[1] ?? null) : null;
}

function followTab(wanted) {
  const tab = wanted ?? FIRST;
  if (tab !== openedTab()) openTab(tab);
}

function watchTabs() {
  const list = document.querySelector('#pd-tabs [role="tablist"]');
  if (!list) return false;
  const wanted = address.get("tab");
  if (wanted && document.getElementById(`pd-tab-${wanted}-button`)) followTab(wanted);
  else if (wanted) address.set("tab", null, { step: false });
  new MutationObserver(() => {
    const tab = openedTab();
    if (tab === null || tab === (address.get("tab") ?? FIRST)) return;
    address.set("tab", tab);
  }).observe(document.getElementById("pd-tabs"), { subtree: true, attributeFilter: ["aria-selected"] });
  address.on("tab", followTab);
  return true;
}

function tellGone(run) {
  toast(`The run ${run} is not here any more: it was removed, or it belongs to another state directory.`, { tone: "bad" });
  address.set("run", null, { step: false });
}

function followRuns() {
  for (const id of store.runs.keys()) seen.add(id);
  const wanted = address.get("run");
  if (!wanted || store.live.state !== "live") return;
  if (store.runs.has(wanted)) {
    linked = null;
    if (store.selected !== wanted) store.choose(wanted);
    return;
  }
  // A run that was started a moment ago may not be in the list yet.
  if (wanted === linked || seen.has(wanted)) tellGone(wanted);
}

/** Begins; called once, before the store is connected, so that the first answer finds the run of the link. */
export function keepPlace() {
  linked = address.get("run");
  if (linked) {
    store.selected = linked;
    store.chosen = true;
  }
  store.addEventListener("runs", followRuns);
  store.addEventListener("selected", () => {
    if (store.chosen && store.selected !== null) address.set("run", store.selected);
  });
  address.on("run", (run, from) => {
    if (from !== "outside") return;
    linked = run;
    if (run && store.runs.has(run)) store.choose(run);
    else followRuns();
  });
  if (!watchTabs()) {
    const waiting = new MutationObserver(() => {
      if (watchTabs()) waiting.disconnect();
    });
    waiting.observe(document.documentElement, { childList: true, subtree: true });
  }
}
