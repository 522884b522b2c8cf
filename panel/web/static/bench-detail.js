// One benchmark: its numbers while it goes on and when it is over, its course over time, errors and notes.

import { isActive, stateOf } from "./bench-api.js";
import { canRepeat, takesLoad } from "./bench-unified.js";
import { BenchPlot } from "./bench-plot.js";
import { el, keyed, setText } from "./dom.js";
import { clock, milliseconds, number } from "./format.js";
import { store } from "./store.js";

const TILES = [
  ["requests", "Requests done"],
  ["output", "Output tokens/s"],
  ["ttft", "TTFT p50"],
  ["ttft99", "TTFT p99"],
  ["itl", "ITL p50"],
  ["itl99", "ITL p99"],
];
const LATENCIES = [["ttft", "Time to first token"], ["itl", "Between tokens (ITL)"], ["tpot", "Per output token (TPOT)"], ["e2e", "Whole request (E2E)"]];
const STATISTICS = ["mean", "p50", "p90", "p99"];

const ms = (seconds) => (seconds === null || seconds === undefined ? null : seconds * 1000);

function liveNumbers(entry) {
  const row = entry.rows?.at(-1);
  if (!row) return {};
  const at = Object.fromEntries(entry.row_columns.map((name, index) => [name, row[index]]));
  return {
    requests: `${at.completed}${at.failed ? ` (${at.failed} failed)` : ""}`, output: number(at.output_tokens_per_s),
    ttft: milliseconds(ms(at.ttft_p50_s)), ttft99: milliseconds(ms(at.ttft_p99_s)), itl: milliseconds(ms(at.itl_p50_s)), itl99: milliseconds(ms(at.itl_p99_s)),
  };
}

function finalNumbers({ columns }) {
  if (columns.requests_successful === undefined && columns.output_tokens_per_s === undefined) return {};
  return {
    requests: columns.requests_successful === undefined ? "–" : `${columns.requests_successful}${columns.requests_failed ? ` (${columns.requests_failed} failed)` : ""}`,
    output: number(columns.output_tokens_per_s), ttft: milliseconds(columns.ttft_p50_ms), ttft99: milliseconds(columns.ttft_p99_ms),
    itl: milliseconds(columns.itl_p50_ms), itl99: milliseconds(columns.itl_p99_ms),
  };
}

/** The card; `stop(entry)`, `unified(entry)` and `again(entry, run)` are what its buttons do. */
export function benchDetail({ stop, unified, again }) {
  const title = el("h3", { "data-testid": "bench-title" });
  const state = el("span", { class: "pd-state", role: "status", "data-testid": "bench-state" });
  const end = el("button", { type: "button", class: "pd-button pd-danger", "data-testid": "bench-stop" }, "Stop");
  const against = el("button", { type: "button", class: "pd-button" }, "Compare with unified");
  const repeat = el("button", { type: "button", class: "pd-button", "data-testid": "bench-again" });
  const facts = el("p", { class: "pd-facts" });
  const values = new Map();
  const tiles = el("dl", { class: "pd-tiles" }, ...TILES.map(([name, label]) => {
    const value = el("dd", { "data-testid": `bench-now-${name}` }, "–");
    values.set(name, value);
    return el("div", { class: "pd-tile" }, el("dt", {}, label), value);
  }));
  const seconds = { after: " s" };
  const plots = {
    tokens: new BenchPlot({ name: "tokens", title: "Tokens", unit: "tokens/s", xUnit: seconds }),
    ttft: new BenchPlot({ name: "ttft", title: "Time to first token", unit: "ms", xUnit: seconds }),
    itl: new BenchPlot({ name: "itl", title: "Between tokens", unit: "ms", xUnit: seconds }),
  };
  const course = el("div", { class: "pd-bcourse" }, plots.tokens.node, plots.ttft.node, plots.itl.node);
  const body = el("tbody");
  const table = el("table", { class: "pd-table", "data-testid": "bench-latencies" },
    el("caption", { class: "pd-unseen" }, "Latencies"),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Latency"), ...STATISTICS.map((one) => el("th", { scope: "col" }, one)))), body);
  const remarks = el("ul", { class: "pd-bnotes", "data-testid": "bench-notes" });
  const node = el("section", { class: "pd-card", hidden: true, "aria-label": "Benchmark", "data-testid": "bench-detail" },
    el("div", { class: "pd-cardhead" }, el("div", { class: "pd-cardtitle" }, title, state), el("div", { class: "pd-actions" }, repeat, against, end)),
    facts, remarks, tiles, course, el("div", { class: "pd-scroll", tabindex: 0, role: "group", "aria-label": "Latencies" }, table));
  let shown = null;
  end.addEventListener("click", () => stop(shown));
  against.addEventListener("click", () => unified(shown));
  repeat.addEventListener("click", () => again(shown, store.run()));

  /** A load is done again where the header points, which may be another deployment. */
  function offerAgain() {
    const run = store.run();
    repeat.hidden = shown === null || isActive(shown) || !canRepeat(shown) || !takesLoad(run);
    if (!repeat.hidden) setText(repeat, `Run the same load on ${run.id}`);
  }

  store.on(["runs", "selected"], offerAgain);

  function drawCourse(entry) {
    const rows = entry.rows ?? [];
    course.hidden = rows.length < 2;
    if (course.hidden) return;
    const column = (name, factor = 1) => {
      const place = entry.row_columns.indexOf(name);
      return rows.map((row) => (row[place] === null ? null : row[place] * factor));
    };
    const times = column("at_s");
    plots.tokens.set([{ name: "output" }, { name: "input" }], [times, column("output_tokens_per_s"), column("input_tokens_per_s")]);
    plots.ttft.set([{ name: "p50" }, { name: "p99" }], [times, column("ttft_p50_s", 1000), column("ttft_p99_s", 1000)]);
    plots.itl.set([{ name: "p50" }, { name: "p99" }], [times, column("itl_p50_s", 1000), column("itl_p99_s", 1000)]);
  }

  function drawTable({ columns }) {
    const known = LATENCIES.filter(([name]) => STATISTICS.some((one) => typeof columns[`${name}_${one}_ms`] === "number"));
    table.hidden = known.length === 0;
    keyed(body, known, ([name]) => name, ([, label]) => el("tr", {}, el("th", { scope: "row" }, label), ...STATISTICS.map(() => el("td"))),
      (row, [name]) => STATISTICS.forEach((one, index) => setText(row.children[index + 1], milliseconds(columns[`${name}_${one}_ms`]))));
  }

  function facts_(entry) {
    const { columns, spec } = entry;
    const parts = [entry.url ?? spec?.url, entry.model, entry.arrival, spec?.input && spec?.output ? `${spec.input} in, ${spec.output} out` : "", entry.prompts_from, entry.source];
    if (entry.created_at) parts.unshift(clock(entry.created_at));
    if (typeof columns.duration_s === "number") parts.push(`${number(columns.duration_s)} s`);
    if (typeof columns.concurrency_mean === "number") parts.push(`concurrency ${number(columns.concurrency_mean)} reached`);
    if (typeof columns.requests_per_s === "number") parts.push(`${number(columns.requests_per_s)} requests/s`);
    if (typeof columns.goodput_per_s === "number") parts.push(`goodput ${number(columns.goodput_per_s)} requests/s (${number(columns.good_percent)} % within the limits)`);
    if (typeof columns.exact_match === "number") parts.push(accuracyText(columns));
    return parts.filter(Boolean).join(" · ");
  }

  return {
    node,
    show(entry) {
      shown = entry;
      node.hidden = entry === null;
      if (entry === null) return;
      const [label, look] = stateOf(entry);
      setText(title, entry.name);
      setText(state, label);
      state.dataset.state = look;
      state.dataset.is = entry.state;
      end.hidden = !isActive(entry);
      against.hidden = isActive(entry) || !canRepeat(entry) || !entry.run || !/^\d+P\d+D$/.test(entry.mode ?? "");
      offerAgain();
      setText(facts, facts_(entry));
      const numbers = isActive(entry) || entry.state === "died" ? liveNumbers(entry) : finalNumbers(entry);
      tiles.hidden = entry.kind === "accuracy";
      for (const [name, value] of values) setText(value, numbers[name] ?? "–");
      drawCourse(entry);
      drawTable(entry);
      const said = [...(entry.notes ?? []).filter(Boolean), ...(entry.errors ?? []).map((one) => `${one.count} failed (${one.kind}): ${one.text}`)];
      keyed(remarks, said, (text) => text, () => el("li"), (item, text) => setText(item, text));
      remarks.hidden = said.length === 0;
    },
  };
}

/** The score of an evaluation in words. */
export function accuracyText(columns) {
  const error = typeof columns.exact_match_stderr === "number" ? ` ± ${(100 * columns.exact_match_stderr).toFixed(1)}` : "";
  return `exact match ${(100 * columns.exact_match).toFixed(1)}${error} % of ${columns.questions} questions`;
}
