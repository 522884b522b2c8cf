// The saved results: one row each, ticked to be compared, exported as a file, added from other programs' files.

import { isActive, loads, stateOf } from "./bench-api.js";
import { accuracyText } from "./bench-detail.js";
import { benchFound } from "./bench-found.js";
import { confirm } from "./dialog.js";
import { el, keyed, setAttribute, setText } from "./dom.js";
import { clock, milliseconds, number } from "./format.js";
import { give } from "./give.js";
import { store } from "./store.js";
import { toast } from "./toast.js";

const COLUMNS = ["Compare", "Result", "State", "Requests/s", "Output tokens/s", "TTFT p50", "ITL p50", "ITL p99", "Actions"];
const FORMS = [["csv", "CSV", "text/csv"], ["json", "JSON", "application/json"], ["md", "Markdown", "text/markdown"]];

function when(entry) {
  if (!entry.created_at) return "";
  const date = new Date(entry.created_at * 1000);
  return `${date.toLocaleDateString("en-CA")} ${clock(entry.created_at)}`;
}

/** `open(id)` shows one, `ticked(ids)` is told what is to be compared, `changed()` that the list must be asked for anew. */
export function benchList({ open, ticked, changed }) {
  const chosen = new Set();
  let entries = [];
  let opened = "";
  const body = el("tbody");
  const only = el("input", { type: "checkbox", id: "bench-only" });
  const file = el("input", { type: "file", id: "bench-file", class: "pd-unseen", tabindex: -1, "aria-label": "File of results", "data-testid": "bench-file" });
  const add = el("button", { type: "button", class: "pd-button pd-quiet", on: { click: () => file.click() } }, "Add results of SGLang, vLLM or MAD …");
  const exports = FORMS.map(([form, label, type]) =>
    el("button", { type: "button", class: "pd-button pd-quiet", data: { form }, on: { click: () => save(form, type) } }, label));
  const table = el("table", { class: "pd-table pd-bresults", "data-testid": "bench-results" }, el("caption", { class: "pd-unseen" }, "Results"),
    el("thead", {}, el("tr", {}, ...COLUMNS.map((column) => el("th", { scope: "col" }, column)))), body);
  const empty = el("div", { class: "pd-empty", "data-testid": "bench-empty" }, el("h3", {}, "No results yet"),
    el("ol", { class: "pd-steps" },
      el("li", {}, "Deploy a run, or name the URL of any OpenAI-compatible server."),
      el("li", {}, "Choose a preset and press Start: the numbers come as they are measured, and go on when you close the page."),
      el("li", {}, "Do the same with another deployment, then tick both here to see which is better at what.")));
  const found = benchFound(() => changed());
  const node = el("section", { class: "pd-card", "aria-label": "Results" },
    el("div", { class: "pd-cardhead" }, el("h3", {}, "Results"),
      el("div", { class: "pd-actions" }, el("label", { for: "bench-only", class: "pd-check" }, only, el("span", {}, "This run only")), add, file)),
    found.node, empty, el("div", { class: "pd-scroll", tabindex: 0, role: "group", "aria-label": "Results" }, table),
    el("div", { class: "pd-actions" }, el("span", { class: "pd-hint", id: "bench-export" }, "Export the ticked ones, or all:"), el("div", { class: "pd-actions", role: "group", "aria-labelledby": "bench-export" }, ...exports)));

  only.addEventListener("change", draw);
  file.addEventListener("change", async () => {
    const [one] = file.files;
    file.value = "";
    if (!one) return;
    try {
      const added = await loads.import(one);
      toast(`${added.length} ${added.length === 1 ? "result was" : "results were"} added from ${one.name}.`, { tone: "good" });
      changed();
    } catch (error) {
      toast(error.message, { tone: "bad" });
    }
  });

  async function save(form, type) {
    const shown = visible();
    const ids = (chosen.size > 0 ? shown.filter((entry) => chosen.has(entry.id)) : shown).map((entry) => entry.id).slice(0, 20);
    try {
      give(`pdpanel-benchmark.${form}`, new Blob([await loads.export(ids, form)], { type }));
    } catch (error) {
      toast(error.message, { tone: "bad" });
    }
  }

  async function remove(entry) {
    if (!(await confirm({ title: `Remove ${entry.name}?`, text: "The result is deleted. This cannot be undone.", action: "Remove" }))) return;
    try {
      await loads.remove(entry.id);
      changed();
    } catch (error) {
      toast(error.message, { tone: "bad" });
    }
  }

  function visible() {
    return entries.filter((entry) => !only.checked || entry.run === store.selected);
  }

  function row(entry) {
    const tick = el("input", { type: "checkbox" });
    tick.addEventListener("change", () => {
      if (tick.checked) chosen.add(entry.id);
      else chosen.delete(entry.id);
      ticked([...chosen]);
    });
    const show = el("button", { type: "button", class: "pd-blink", on: { click: () => open(entry.id) } });
    return el("tr", { "data-testid": "bench-row" }, el("td", { data: { label: "Compare" } }, tick), el("th", { scope: "row" }, show, el("span", { class: "pd-stage" })),
      el("td", {}, el("span", { class: "pd-state" })), ...COLUMNS.slice(3, 8).map((label) => el("td", { data: { label } })),
      el("td", {}, el("button", { type: "button", class: "pd-button", on: { click: () => remove(entry) } }, "Remove")));
  }

  function draw() {
    const shown = visible();
    empty.hidden = shown.length > 0;
    table.hidden = shown.length === 0;
    for (const button of exports) button.disabled = shown.length === 0;
    keyed(body, shown, (entry) => entry.id, row, (line, entry) => {
      const [tick, name, state, ...cells] = line.children;
      tick.firstChild.checked = chosen.has(entry.id);
      tick.firstChild.disabled = isActive(entry);
      setAttribute(tick.firstChild, "aria-label", `Compare ${entry.name}`);
      setText(name.firstChild, entry.name);
      setText(name.lastChild, [when(entry), entry.kind === "imported" ? entry.source : entry.model].filter(Boolean).join(" · "));
      setAttribute(line, "aria-current", entry.id === opened ? "true" : null);
      const [label, look] = stateOf(entry);
      setText(state.firstChild, label);
      state.firstChild.dataset.state = look;
      const { columns } = entry;
      const values = entry.kind === "accuracy" && typeof columns.exact_match === "number"
        ? [accuracyText(columns), "", "", "", ""]
        : [number(columns.requests_per_s), number(columns.output_tokens_per_s), milliseconds(columns.ttft_p50_ms), milliseconds(columns.itl_p50_ms), milliseconds(columns.itl_p99_ms)];
      values.forEach((value, index) => setText(cells[index], value));
      const button = cells.at(-1).firstChild;
      setAttribute(button, "aria-label", `Remove ${entry.name}`);
      button.disabled = isActive(entry);
    });
  }

  store.on(["selected"], draw);
  return {
    node,
    show(list, current) {
      entries = list;
      found.refresh(list);
      opened = current;
      const known = new Set(list.map((entry) => entry.id));
      for (const id of chosen) if (!known.has(id)) chosen.delete(id);
      draw();
    },
    tick(ids) {
      chosen.clear();
      for (const id of ids) chosen.add(id);
      draw();
    },
  };
}
