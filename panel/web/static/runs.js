// The Deploy tab's right side: a card for each run with its picture, its processes and what to do next.

import * as actions from "./actions.js";
import { el, isVisible, keyed, openTab, setAttribute, setText } from "./dom.js";
import { duration, modeLabel, shortModel, stateLabel } from "./format.js";
import { processTable } from "./processes.js";
import { store } from "./store.js";
import { topology } from "./topology.js";

const KEPT_ENDED = 5;
const cards = new WeakMap();

function makeCard(run) {
  const title = el("h3");
  const state = el("span", { class: "pd-state", "data-testid": "run-state" });
  const facts = el("p", { class: "pd-facts" });
  const outcome = el("p", { class: "pd-outcome", role: "status" });
  const tell = (text, tone) => {
    setText(outcome, text);
    outcome.dataset.tone = tone;
  };
  const stopAll = el("button", { type: "button", class: "pd-button pd-danger", "data-testid": "stop-all" }, "Stop all");
  stopAll.addEventListener("click", async () => {
    stopAll.disabled = true;
    tell("Stopping all processes …", "idle");
    try {
      await actions.stopRun(run.id);
      tell("", "idle");
    } catch (error) {
      tell(error.message, "bad");
    } finally {
      stopAll.disabled = false;
    }
  });
  const noticeText = el("span");
  const bar = el("progress", { max: 1, "aria-label": "Progress" });
  const notice = el("p", { class: "pd-notice", role: "status", "data-testid": "run-notice" }, noticeText, bar);
  const next = el(
    "div",
    { class: "pd-next", "data-testid": "next-step" },
    el("span", {}, "Ready. Send it a prompt, then watch the KV cache travel."),
    el("div", { class: "pd-actions" },
      el("button", { type: "button", class: "pd-button pd-primary", on: { click: () => openTab("tryit") } }, "Try it"),
      el("button", { type: "button", class: "pd-button", on: { click: () => openTab("observe") } }, "Observe"),
    ),
  );
  const picture = topology();
  const table = processTable(run, tell);
  const card = el(
    "article",
    { class: "pd-card", data: { run: run.id } },
    el("div", { class: "pd-cardhead" }, el("div", { class: "pd-cardtitle" }, title, state), stopAll),
    facts,
    notice,
    next,
    picture.node,
    table.node,
    outcome,
  );
  cards.set(card, { title, state, facts, stopAll, notice, noticeText, bar, next, picture, table, run });
  return card;
}

function setFacts(view, run) {
  const age = duration(store.now() - run.created_s);
  const parts = [modeLabel(run.mode)];
  if (run.mode !== "unified") parts.push(`KV over ${run.transport}`);
  parts.push(`API ${run.router_url}`, `run ${run.id}`, `started ${age} ago`);
  setText(view.facts, parts.join("  ·  "));
}

function updateCard(card, run) {
  const view = cards.get(card);
  view.run = run;
  card.dataset.state = run.state;
  setText(view.title, shortModel(run.model));
  setText(view.state, stateLabel(run.state));
  view.state.dataset.state = run.state;
  setFacts(view, run);
  setText(view.noticeText, run.notice);
  view.notice.hidden = run.notice === "";
  view.notice.dataset.tone = run.state === "failed" ? "bad" : "idle";
  view.bar.hidden = run.progress === null;
  if (run.progress !== null) setAttribute(view.bar, "value", run.progress);
  view.next.hidden = run.state !== "ready";
  view.picture.node.hidden = !store.isActive(run);
  view.picture.update(run);
  view.table.update(run);
  setAttribute(view.stopAll, "hidden", !run.can_stop);
}

export function runs(island) {
  const trouble = el("p", { class: "pd-outcome", role: "alert", data: { tone: "bad" } });
  const empty = el(
    "div",
    { class: "pd-empty", "data-testid": "no-runs" },
    el("h3", {}, "Nothing is running yet"),
    el("p", {}, "Choose a model and how many prefill and decode workers to start, then press Deploy."),
    el(
      "ol",
      { class: "pd-steps" },
      el("li", {}, el("b", {}, "Deploy"), " starts router, prefill and decode on this host."),
      el("li", {}, el("b", {}, "Try it"), " sends a prompt and measures time to first token."),
      el("li", {}, el("b", {}, "Observe"), " shows the KV cache travel between the workers."),
    ),
  );
  const active = el("div", { class: "pd-cards" });
  const ended = el("div", { class: "pd-cards" });
  const endedTitle = el("summary");
  const endedBox = el("details", { class: "pd-ended" }, endedTitle, ended);
  island.append(trouble, empty, active, endedBox);

  store.on(["runs"], () => {
    const all = store.list();
    const now = all.filter((run) => store.isActive(run) || run.can_stop);
    const past = all.filter((run) => !now.includes(run)).slice(0, KEPT_ENDED);
    // The newest run stays in sight when it failed or ended: its reason matters.
    if (now.length === 0 && past.length > 0) now.push(past.shift());
    setText(trouble, store.trouble);
    empty.hidden = all.length > 0 || store.live.state !== "live";
    keyed(active, now, (run) => run.id, makeCard, updateCard);
    keyed(ended, past, (run) => run.id, makeCard, updateCard);
    endedBox.hidden = past.length === 0;
    setText(endedTitle, `Earlier runs (${past.length})`);
  });
  store.on(["live"], () => {
    empty.hidden = store.runs.size > 0 || store.live.state !== "live";
  });
  store.on(["samples"], () => {
    if (!isVisible(island)) return;
    for (const card of island.querySelectorAll(".pd-card")) cards.get(card).picture.flow();
  });
  setInterval(() => {
    if (!isVisible(island) || store.live.state !== "live") return;
    for (const card of island.querySelectorAll(".pd-card")) {
      const view = cards.get(card);
      view.table.tick(view.run);
      setFacts(view, view.run);
    }
  }, 1000);
}
