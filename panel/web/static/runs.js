// The Deploy tab's right side: a card for each run that goes on, and for the chosen one when it has ended.

import { el, keyed, setHidden, setText } from "./dom.js";
import { flowCard, makeCard, tickCard, updateCard } from "./run-card.js";
import { store } from "./store.js";

/** The runs that have a card: those that go on; the chosen one; and the newest, whose reason matters when it ended. */
export function cardRuns(all, selected) {
  const shown = all.filter((run) => store.isActive(run) || run.can_stop || run.id === selected);
  if (shown.length === 0 && all.length > 0) shown.push(all[0]);
  return shown;
}

export function runs(island) {
  const trouble = el("p", { class: "pd-outcome", role: "alert", data: { tone: "bad" } });
  const empty = el(
    "div",
    { class: "pd-empty", "data-testid": "no-runs" },
    el("h3", {}, "Nothing is running yet"),
    el("p", {}, "Choose a model and how many prefill and decode workers to start, then press Deploy."),
    el("p", { class: "pd-hint" }, "A deployment with other engines, hosts or flags is made in the Plan tab. Help shows the first steps."),
  );
  const cards = el("div", { class: "pd-cards" });
  island.append(trouble, empty, cards);

  // Told rather than asked: asking makes the browser lay out the page between two changes of it.
  let wide = false;
  const isSeen = () => wide && !document.hidden;

  function show() {
    const all = store.list();
    setText(trouble, store.trouble);
    setHidden(empty, all.length > 0 || store.live.state !== "live");
    // Figures of every process change with each look.
    if (!isSeen()) return;
    keyed(cards, cardRuns(all, store.selected), (run) => run.id, makeCard, updateCard);
  }

  store.on(["runs", "selected"], show);
  new ResizeObserver((entries) => {
    wide = entries.at(-1).contentRect.width > 0;
    show();
  }).observe(island);
  document.addEventListener("visibilitychange", show);
  store.on(["live"], () => {
    empty.hidden = store.runs.size > 0 || store.live.state !== "live";
  });
  store.on(["samples"], () => {
    if (!isSeen()) return;
    for (const card of cards.children) flowCard(card);
  });
  setInterval(() => {
    if (!isSeen() || store.live.state !== "live") return;
    for (const card of cards.children) tickCard(card);
  }, 1000);
}
