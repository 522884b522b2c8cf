// Free disk space: what a clean-up would take, item by item, before it takes it.

import * as actions from "./actions.js";
import { ask } from "./dialog.js";
import { el, setText } from "./dom.js";
import { bytes } from "./format.js";
import { toast } from "./toast.js";

const AGES = [[30, "more than 30 days ago"], [7, "more than 7 days ago"], [1, "more than a day ago"], [0, "at any time"]];
const PARTS = { runs: {}, "logs alone": { logs: true }, "samples alone": { samples: true }, "logs and samples": { logs: true, samples: true } };
const KINDS = { run: "run", logs: "logs", samples: "samples", leftover: "leftover", model: "model" };

const plural = (count, one) => `${count} ${count === 1 ? one : `${one}s`}`;

/** "2 runs, 1 model" of a list of items. */
function counted(items) {
  const kinds = Object.keys(KINDS).filter((kind) => items.some((item) => item.kind === kind));
  return kinds.map((kind) => {
    const count = items.filter((item) => item.kind === kind).length;
    return kind === "logs" || kind === "samples" ? `${KINDS[kind]} of ${plural(count, "run")}` : plural(count, KINDS[kind]);
  }).join(", ");
}

function choice(label, options) {
  const select = el("select", {}, ...options.map(([value, text]) => el("option", { value }, text)));
  return { select, node: el("label", { class: "pd-inline" }, el("span", {}, label), select) };
}

/** What the person chooses from: {node, wish(), chosen(), changed}; `changed` is told when either is another one. */
function form() {
  const age = choice("Runs that ended", AGES);
  const parts = choice("Free of them", Object.keys(PARTS).map((name) => [name, name]));
  const models = el("input", { type: "checkbox" });
  const all = el("input", { type: "checkbox", "aria-label": "All of the list" });
  const body = el("tbody");
  const head = el("tr", {}, el("th", { scope: "col" }, all), ...["What", "Size"].map((name) => el("th", { scope: "col" }, name)));
  const table = el("table", { class: "pd-table pd-prune-list" }, el("caption", { class: "pd-unseen" }, "What would be freed"), el("thead", {}, head), body);
  const list = el("div", { class: "pd-scroll pd-prune-box", tabindex: 0, role: "group", "aria-label": "What would be freed" }, table);
  const sum = el("p", { role: "status", "data-testid": "prune-sum" });
  const view = {
    changed: () => {},
    items: [],
    node: [
      el("p", { class: "pd-hint" }, "Runs that go on are never touched. What is freed cannot be had back."),
      el("div", { class: "pd-prune-wish" }, age.node, parts.node,
        el("label", { class: "pd-inline" }, models, el("span", {}, "Models in the cache that no remaining run uses"))),
      list, sum,
    ],
    wish: () => ({ days: Number(age.select.value), models: models.checked, ...PARTS[parts.select.value] }),
    chosen: () => view.items.filter((_, place) => body.rows[place]?.querySelector("input").checked),
  };
  let asked = 0;

  function count() {
    const chosen = view.chosen();
    all.checked = chosen.length === view.items.length;
    all.indeterminate = chosen.length > 0 && !all.checked;
    const size = chosen.reduce((total, item) => total + item.size_bytes, 0);
    setText(sum, view.items.length === 0 ? "There is nothing to free." : chosen.length === 0 ? "Nothing is chosen." : `Frees ${bytes(size)}: ${counted(chosen)}.`);
    view.changed();
  }

  async function look() {
    asked += 1;
    const mine = asked;
    // Until the answer is here nothing is chosen, so nothing can be freed by a wish that is not shown.
    view.items = [];
    body.replaceChildren();
    setText(sum, "Looking what there is …");
    view.changed();
    try {
      const { items } = await actions.prunable(view.wish());
      if (mine !== asked) return;
      view.items = items;
      list.hidden = items.length === 0;
      body.replaceChildren(...items.map((item) => el("tr", {},
        el("td", {}, el("input", { type: "checkbox", "aria-label": `${KINDS[item.kind]} ${item.name}`, on: { change: count } })),
        el("th", { scope: "row" }, el("span", { class: "pd-name" }, item.name), el("span", { class: "pd-hint" }, `${KINDS[item.kind]}, ${item.why}`)),
        el("td", {}, bytes(item.size_bytes)))));
      for (const box of body.querySelectorAll("input")) box.checked = true;
      count();
    } catch (error) {
      if (mine !== asked) return;
      list.hidden = true;
      setText(sum, error.message);
    }
  }

  all.addEventListener("change", () => {
    for (const box of body.querySelectorAll("input")) box.checked = all.checked;
    count();
  });
  for (const input of [age.select, parts.select, models]) input.addEventListener("change", look);
  look();
  return view;
}

/** Asks what to free, and frees it; true when something went. */
export async function freeDiskSpace() {
  const wanted = form();
  const answer = ask({
    title: "Free disk space", body: wanted.node, testid: "prune",
    actions: [{ label: "Cancel", value: "" }, { label: "Free it", value: "yes", tone: "danger" }],
  });
  const go = wanted.node[0].closest("dialog").querySelector('[data-value="yes"]');
  wanted.changed = () => {
    go.disabled = wanted.chosen().length === 0;
  };
  wanted.changed();
  if ((await answer) !== "yes") return false;
  const chosen = wanted.chosen();
  try {
    const done = await actions.prune(wanted.wish(), chosen.map(({ kind, name }) => ({ kind, name })));
    const left = chosen.length - done.items.length;
    const rest = left > 0 ? ` ${plural(left, "thing")} of the list could not be removed: a run lives again, or the disk refused.` : "";
    toast(`${bytes(done.size_bytes)} freed: ${counted(done.items) || "nothing"}.${rest}`, { tone: left > 0 ? "bad" : "good" });
    return done.items.length > 0;
  } catch (error) {
    toast(error.message, { tone: "bad" });
    return false;
  }
}
