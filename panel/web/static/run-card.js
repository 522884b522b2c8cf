// One run on the Deploy tab: its picture, how it starts, its processes, and what to do next.

import { el, openTab, setAttribute, setText } from "./dom.js";
import { duration, modeLabel, runLabel, shortModel } from "./format.js";
import { processTable } from "./processes.js";
import { runRanks } from "./ranks.js";
import { runActions } from "./run-actions.js";
import { scaleControls } from "./scale.js";
import { startOrder } from "./start-order.js";
import { store } from "./store.js";
import { topology } from "./topology.js";

const MOST_PICTURED = 40;
const views = new WeakMap();

function view(name, label, run) {
  const open = () => {
    store.choose(run.id);
    openTab(name);
  };
  return el("button", { type: "button", class: "pd-button", on: { click: open } }, label);
}

export function makeCard(run) {
  const title = el("h3");
  const state = el("span", { class: "pd-state", "data-testid": "run-state" });
  const facts = el("p", { class: "pd-facts" });
  const outcome = el("p", { class: "pd-outcome", role: "status" });
  const tell = (text, tone) => {
    setText(outcome, text);
    outcome.dataset.tone = tone;
  };
  const buttons = runActions(run, tell);
  const noticeText = el("span");
  const bar = el("progress", { max: 1, "aria-label": "Progress" });
  const notice = el("p", { class: "pd-notice", role: "status", "data-testid": "run-notice" }, noticeText, bar);
  const nextText = el("span");
  const next = el("div", { class: "pd-next", "data-testid": "next-step" }, nextText,
    el("div", { class: "pd-actions" }, view("tryit", "Try it", run), view("observe", "Observe", run), view("logs", "Logs", run)));
  const ranks = runRanks(() => {
    const shown = views.get(card);
    if (!picture.node.hidden) picture.update(shown.run);
    table.update(shown.run);
  });
  const picture = topology(ranks);
  const order = startOrder();
  const scale = scaleControls(run, tell);
  const table = processTable(run, tell, ranks.gone);
  const card = el(
    "article",
    { class: "pd-card", data: { run: run.id } },
    el("div", { class: "pd-cardhead" }, el("div", { class: "pd-cardtitle" }, title, state), buttons.node),
    facts, notice, next, order.node, picture.node, ranks.node, scale.node, table.node, outcome,
  );
  views.set(card, { title, state, facts, buttons, notice, noticeText, bar, next, nextText, picture, ranks, order, scale, table, run });
  return card;
}

function setFacts(shown, run) {
  const parts = [modeLabel(run.mode)];
  if (run.mode !== "unified") parts.push(`KV over ${run.transport}`);
  if (run.router_url) parts.push(`API ${run.router_url}`);
  parts.push(`run ${run.id}`);
  if (run.attached) parts.push("attached: watched, not started here");
  parts.push(`started ${duration(store.now() - run.created_s)} ago`);
  if (run.adopted_s) parts.push(`runner replaced ${duration(store.now() - run.adopted_s)} ago`);
  if (run.resumed_s) parts.push(`resumed ${duration(store.now() - run.resumed_s)} ago`);
  if (run.ended_s) parts.push(`ended after ${duration(run.ended_s - (run.resumed_s ?? run.created_s))}`);
  setText(shown.facts, parts.join("  ·  "));
}

function nextText(run) {
  if (run.state === "ready") return "Ready. Send it a prompt, then watch the KV cache travel.";
  return store.isActive(run) ? "" : "Ended. What it measured and wrote is still here.";
}

export function updateCard(card, run) {
  const shown = views.get(card);
  shown.run = run;
  setAttribute(card, "data-state", run.state);
  setText(shown.title, shortModel(run.model));
  setText(shown.state, runLabel(run));
  setAttribute(shown.state, "data-state", run.state);
  setFacts(shown, run);
  setText(shown.noticeText, run.notice);
  setAttribute(shown.notice, "hidden", run.notice === "");
  setAttribute(shown.notice, "data-tone", run.state === "failed" ? "bad" : "idle");
  setAttribute(shown.bar, "hidden", run.progress === null);
  if (run.progress !== null) setAttribute(shown.bar, "value", run.progress);
  const text = nextText(run);
  setAttribute(shown.next, "hidden", text === "");
  setAttribute(shown.next, "data-tone", run.state === "ready" ? "good" : "idle");
  setText(shown.nextText, text);
  setAttribute(shown.next.querySelector("button"), "hidden", run.state !== "ready");
  setAttribute(shown.picture.node, "hidden", !store.isActive(run) || run.processes.length > MOST_PICTURED);
  if (!shown.picture.node.hidden) shown.picture.update(run);
  shown.ranks.update(run);
  shown.order.update(run);
  shown.scale.update(run);
  shown.table.update(run);
  shown.buttons.update(run);
}

/** Moves what flows in the picture. */
export function flowCard(card) {
  const shown = views.get(card);
  if (!shown.picture.node.hidden) shown.picture.flow();
}

/** Moves what counts by itself: ages and elapsed times. */
export function tickCard(card) {
  const shown = views.get(card);
  shown.table.tick(shown.run);
  shown.order.tick(shown.run);
  setFacts(shown, shown.run);
}
