// The ranks of a run's workers: asked for while somebody looks, drawn by the picture, told in a table below it.

import { ranksOf } from "./actions.js";
import { el, keyed, setAttribute, setText } from "./dom.js";
import { stateLabel } from "./format.js";
import { rankWords, shareOf, sizeWords } from "./rank-cells.js";

const ASK_MS = 4000;
const LIVING = new Set(["starting", "ready", "degraded", "unsupervised"]);
const HEADS = ["Rank", "State", "Group", "Node", "Heads", "KV heads", "Experts", "PID"];

/** Whether a rank lives, by its worker's word, and by its process where the worker says nothing: {key, text}. */
function stateOf(rank, process) {
  if (process !== "ready") return { key: process === "crashed" ? "crashed" : "planned", text: stateLabel(process) };
  if (rank.alive === false) return { key: "gone", text: "Gone" };
  return rank.alive ? { key: "alive", text: "Alive" } : { key: "planned", text: "Not told" };
}

/** Columns that no worker here has anything for. */
function idleColumns(rows) {
  const some = { Group: ({ sizes }) => sizes.attn_dp > 1, Node: ({ sizes }) => sizes.nodes > 1, Experts: ({ rank }) => rank.experts.length > 0 };
  return Object.entries(some).filter(([, has]) => !rows.some(has)).map(([label]) => label).join(" ");
}

function row() {
  const cells = HEADS.slice(1).map((label) => el("td", { data: { label } }));
  cells[0].append(el("span", { class: "pd-state" }), el("span", { class: "pd-stage" }));
  return el("tr", {}, el("th", { scope: "row" }, el("span", { class: "pd-name" })), ...cells);
}

function fill(node, { worker, rank, sizes, process }) {
  const { heads, kv, experts } = shareOf(rank);
  const state = stateOf(rank, process);
  const lives = state.key === "alive";
  const group = sizes.attn_dp > 1 ? rank.group : "–";
  setText(node.firstChild.firstChild, `${worker} rank ${rank.rank}`);
  const chip = node.children[1].firstChild;
  setText(chip, state.text);
  setAttribute(chip, "data-state", { alive: "ready", gone: "crashed", crashed: "crashed" }[state.key] ?? "");
  setText(node.children[1].lastChild, state.key === "gone" ? rank.problem : "");
  [group, rank.node, heads || "–", kv || "–", experts || "–", lives ? rank.pid ?? "–" : "–"]
    .forEach((text, place) => setText(node.children[place + 2], text));
  setAttribute(node, "data-alive", state.key);
  setAttribute(node, "title", rankWords(rank, sizes));
}

/** Returns {node, of(process name), gone(process name), key(), update(run)}; `changed` is called when there is news to draw. */
export function runRanks(changed) {
  const names = el("span");
  const lost = el("b", { class: "pd-ranks-lost" });
  const summary = el("summary", {}, names, lost);
  const body = el("tbody");
  const head = el("tr", {}, ...HEADS.map((label) => el("th", { scope: "col", data: { label } }, label)));
  const table = el("table", { class: "pd-table pd-ranks-table" }, el("caption", { class: "pd-unseen" }, "Ranks of the workers"), el("thead", {}, head), body);
  const scroll = el("div", { class: "pd-scroll", tabindex: 0, role: "group", "aria-label": "Ranks" }, table);
  const node = el("details", { class: "pd-ranks-box", hidden: true, "data-testid": "ranks" }, summary, scroll);
  let workers = {};
  let run = null;
  let shown = "";
  let asked = "";
  let drawn = "";
  let timer = 0;

  function take(found) {
    const key = JSON.stringify(found);
    if (key === shown) return;
    shown = key;
    workers = found;
    draw();
    changed();
  }

  function draw() {
    const states = new Map(run.processes.map(({ name, state }) => [name, state]));
    const rows = Object.entries(workers).flatMap(([worker, { ranks, sizes }]) =>
      ranks.map((rank) => ({ worker, rank, sizes, process: states.get(rank.process) ?? "stopped" })));
    keyed(body, rows, ({ worker, rank }) => `${worker} ${rank.rank}`, row, fill);
    setAttribute(node, "hidden", rows.length === 0);
    setAttribute(table, "data-without", idleColumns(rows));
    setText(names, `Ranks: ${Object.entries(workers).map(([name, worker]) => `${name} ${sizeWords(worker)}`).join("; ")}`);
    const gone = rows.filter(({ rank, process }) => stateOf(rank, process).key === "gone");
    setText(lost, gone.length > 0 ? ` ${gone.length} of ${rows.length} gone` : "");
  }

  async function ask() {
    clearTimeout(timer);
    const id = run.id;
    try {
      const found = await ranksOf(id);
      if (run.id === id) take(found);
    } catch {
      // What was told last stays; the next question may have an answer.
    }
    const seen = node.checkVisibility?.() ?? true;
    if (run.id === id && LIVING.has(run.state) && seen && !document.hidden) timer = setTimeout(ask, ASK_MS);
    else asked = "";
  }

  return {
    node,
    /** The ranks that a process has: {ranks, sizes, backend}; null without several. */
    of(name) {
      for (const worker of Object.values(workers)) {
        const ranks = worker.ranks.filter(({ process }) => process === name);
        if (ranks.length > 0) return { ...worker, ranks };
      }
      return null;
    },
    /** What a person has to know of the ranks that a worker goes on without; empty while it has all. */
    gone(name) {
      const lost = (workers[name]?.ranks ?? []).filter(({ alive }) => alive === false);
      if (lost.length === 0) return "";
      const how = lost.map(({ rank, problem }) => problem || `Rank ${rank} is gone.`).join(" ");
      return `${how} The others go on; restart ${name} to have all ${workers[name].ranks.length} again.`;
    },
    /** What tells one picture of the ranks from another. */
    key: () => shown,
    update(now) {
      run = now;
      if (!now.processes.some(({ ranks }) => ranks > 1) && !now.processes.some(({ name }) => /-rank\d+$/.test(name))) return;
      // A change of a process may be one of its ranks; between changes the timer asks.
      const key = now.processes.map(({ name, state }) => `${name} ${state}`).join();
      if (key !== drawn) {
        drawn = key;
        draw();
      }
      if (key === asked || !LIVING.has(now.state)) return;
      asked = key;
      ask();
    },
  };
}
