// Earlier runs: what each was, how long it went and what it reached; opened, cloned, started again or removed.

import * as actions from "./actions.js";
import { address } from "./address.js";
import { confirm } from "./dialog.js";
import { el, isVisible, keyed, openTab, setAttribute, setText } from "./dom.js";
import { rowFilter } from "./filter.js";
import { bytes, duration, moment, number, runLabel, shortModel } from "./format.js";
import { freeDiskSpace } from "./prune.js";
import { cloneRun, resumeRun } from "./run-actions.js";
import { store } from "./store.js";
import { toast } from "./toast.js";

const COLUMNS = ["Run", "Started", "Duration", "Model", "Workers", "Peak KV", "Peak tokens/s", "Crashes", "Disk", "Actions"];
const views = new WeakMap();

/** The ended runs, newest first: what the store knows, and beside it what is on disk. */
function rowsOf(facts) {
  return store.list().filter((run) => !store.isActive(run) && !run.can_stop).map((run) => {
    const more = facts.get(run.id);
    const ended = more?.ended_s ?? run.ended_s;
    const count = (role) => run.processes.filter((process) => process.role === role).length;
    const workers = count("prefill") > 0 ? `${count("prefill")}P${count("decode")}D` : `${count("unified")} unified`;
    return {
      id: run.id, state: run.state, model: run.model, transport: run.transport, attached: run.attached, workers,
      name: more?.name || run.name || run.id, created: run.created_s, notice: run.notice,
      duration: more?.duration_s ?? (ended ? ended - run.created_s : null),
      kv: more?.peaks?.kv_bytes_per_s ?? null, tokens: more?.peaks?.generated_tokens_per_s ?? null,
      crashes: more?.crashes ?? run.processes.filter((process) => process.state === "crashed").length,
      disk: more?.bytes_on_disk ?? null,
    };
  });
}

export function history(island) {
  const title = el("summary");
  const body = el("tbody");
  const head = el("tr", {}, ...COLUMNS.map((column) => el("th", { scope: "col" }, column)));
  const table = el("table", { class: "pd-table pd-history" }, el("caption", { class: "pd-unseen" }, "Earlier runs"), el("thead", {}, head), body);
  const filter = rowFilter("runs", () => draw());
  const box = el("details", { class: "pd-card pd-ended", hidden: true, "data-testid": "history" }, title,
    filter.node, el("div", { class: "pd-scroll pd-tall", tabindex: 0, role: "group", "aria-label": "Earlier runs" }, table));
  const free = el("button", { type: "button", class: "pd-button", "data-testid": "free-disk", on: { click: makeRoom } }, "Free disk space …");
  table.parentNode.after(el("div", { class: "pd-actions" }, free));
  let facts = new Map();
  let asked = "";
  island.append(box);

  async function makeRoom() {
    if (!(await freeDiskSpace())) return;
    // What runs take has changed, even where the list has not.
    asked = "";
    ask();
  }

  function open(id) {
    store.choose(id);
    address.assign({ run: id, tab: "observe" });
    openTab("observe");
  }

  async function remove(row) {
    const text = `Its deployment, samples and logs${row.disk ? ` (${bytes(row.disk)})` : ""} are deleted. This cannot be undone.`;
    if (!(await confirm({ title: `Remove the run ${row.id}?`, text, action: "Remove" }))) return;
    try {
      const freed = await actions.removeRun(row.id);
      toast(`The run ${row.id} was removed${freed > 0 ? `: ${bytes(freed)} freed` : ""}.`, { tone: "good" });
    } catch (error) {
      toast(error.message, { tone: "bad" });
    }
  }

  function make(first) {
    let row = first;
    const button = (label, run, style = "") => el("button", { type: "button", class: `pd-button ${style}`, "aria-label": `${label} ${first.id}`, on: { click: () => run(row) } }, label);
    const buttons = {
      open: button("Open", () => open(row.id)),
      clone: button("Clone", () => cloneRun(row.id, row.name)),
      resume: button("Resume", () => resumeRun(row.id, row.name)),
      remove: button("Remove", remove, "pd-danger"),
    };
    const cells = COLUMNS.slice(1, -1).map((label) => el("td", { data: { label } }));
    const state = el("span", { class: "pd-state" });
    const name = el("span", { class: "pd-name" });
    const node = el("tr", { data: { earlier: first.id } }, el("th", { scope: "row" }, name, " ", state), ...cells,
      el("td", { data: { label: "Actions" } }, el("div", { class: "pd-actions" }, ...Object.values(buttons))));
    views.set(node, { name, state, cells, buttons, take: (next) => { row = next; } });
    return node;
  }

  function update(node, row) {
    const view = views.get(node);
    view.take(row);
    setText(view.name, row.id);
    setText(view.state, runLabel(row));
    setAttribute(view.state, "data-state", row.state);
    setAttribute(view.state, "title", row.notice || null);
    setAttribute(view.buttons.clone, "hidden", row.attached);
    setAttribute(view.buttons.resume, "hidden", row.attached);
    const values = [moment(row.created), duration(row.duration), shortModel(row.model), row.workers,
      row.kv === null ? "–" : `${bytes(row.kv)}/s`, number(row.tokens), row.crashes, bytes(row.disk)];
    values.forEach((value, place) => setText(view.cells[place], value));
  }

  function draw() {
    const rows = rowsOf(facts);
    setAttribute(box, "hidden", rows.length === 0);
    setText(title, `Earlier runs (${rows.length})`);
    // Where none is left the last one's row goes too, although nobody sees the list any more.
    if (rows.length > 0 && !box.open) return;
    keyed(body, filter.keep(rows, (row) => `${row.id} ${row.name} ${row.model} ${row.transport} ${row.workers} ${runLabel(row)}`), (row) => row.id, make, update);
  }

  /** Asks for the facts on disk when the list of ended runs is another one. */
  async function ask() {
    const key = rowsOf(facts).map((row) => row.id).join(" ");
    if (!box.open || key === asked || !isVisible(island)) return;
    asked = key;
    try {
      facts = new Map((await actions.history()).map((run) => [run.id, run]));
    } catch {
      // The list itself is known without: what is missing stays a dash.
      return;
    }
    draw();
  }

  box.addEventListener("toggle", () => {
    draw();
    ask();
  });
  store.on(["runs"], () => {
    draw();
    ask();
  });
}
