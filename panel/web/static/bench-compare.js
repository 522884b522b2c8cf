// Two results or more side by side: each number, its ratio to the first one, and better or worse in words.

import { BenchPlot } from "./bench-plot.js";
import { el, keyed, setText } from "./dom.js";
import { milliseconds, number } from "./format.js";

const SAME = 0.05;
// [column, label, how it is shown, whether more is better (null: neither)]
const MEASURES = [
  ["requests_per_s", "Requests/s", number, true],
  ["output_tokens_per_s", "Output tokens/s", number, true],
  ["input_tokens_per_s", "Input tokens/s", number, true],
  ["goodput_per_s", "Goodput, requests/s", number, true],
  ["ttft_mean_ms", "TTFT mean", milliseconds, false],
  ["ttft_p50_ms", "TTFT p50", milliseconds, false],
  ["ttft_p90_ms", "TTFT p90", milliseconds, false],
  ["ttft_p99_ms", "TTFT p99", milliseconds, false],
  ["itl_mean_ms", "ITL mean", milliseconds, false],
  ["itl_p50_ms", "ITL p50", milliseconds, false],
  ["itl_p90_ms", "ITL p90", milliseconds, false],
  ["itl_p99_ms", "ITL p99", milliseconds, false],
  ["tpot_p50_ms", "TPOT p50", milliseconds, false],
  ["e2e_p50_ms", "E2E p50", milliseconds, false],
  ["e2e_p99_ms", "E2E p99", milliseconds, false],
  ["requests_failed", "Failed requests", number, false],
  ["concurrency_mean", "Concurrency reached", number, null],
  ["exact_match", "GSM8K exact match", (value) => (typeof value === "number" ? `${(100 * value).toFixed(1)} %` : "–"), true],
];

/** What a value is beside the first one's: {text, tone}. */
export function judged(value, first, moreIsBetter) {
  if (typeof value !== "number" || typeof first !== "number" || moreIsBetter === null) return { text: "", tone: "" };
  if (first === 0) return value === 0 ? { text: "the same", tone: "" } : { text: moreIsBetter ? "better" : "worse", tone: moreIsBetter ? "good" : "bad" };
  const ratio = value / first;
  if (Math.abs(ratio - 1) < SAME) return { text: "about the same", tone: "" };
  const better = ratio > 1 === moreIsBetter;
  return { text: `${ratio >= 10 ? ratio.toFixed(0) : ratio.toFixed(2)}×, ${better ? "better" : "worse"}`, tone: better ? "good" : "bad" };
}

/** Within two standard errors two scores are not told apart. */
function judgedScore(entry, first) {
  const [one, two] = [entry.columns, first.columns];
  if (typeof one.exact_match !== "number" || typeof two.exact_match !== "number") return { text: "", tone: "" };
  const error = Math.hypot(one.exact_match_stderr ?? 0, two.exact_match_stderr ?? 0);
  const apart = one.exact_match - two.exact_match;
  if (Math.abs(apart) <= 2 * error) return { text: "within the error", tone: "" };
  return { text: `${(100 * apart).toFixed(1)} points, ${apart > 0 ? "better" : "worse"}`, tone: apart > 0 ? "good" : "bad" };
}

function differs(entries, read) {
  return new Set(entries.map(read)).size > 1;
}

export function benchCompare() {
  const head = el("tr");
  const body = el("tbody");
  const base = el("select", { id: "bench-base" });
  const hint = el("p", { class: "pd-hint" });
  const itl = new BenchPlot({ name: "itl-curve", title: "ITL by percentile", unit: "ms", xUnit: { before: "p", still: true } });
  const ttft = new BenchPlot({ name: "ttft-curve", title: "TTFT by percentile", unit: "ms", xUnit: { before: "p", still: true } });
  const curves = el("div", { class: "pd-pair" }, ttft.node, itl.node);
  const node = el("section", { class: "pd-card", hidden: true, "aria-label": "Comparison", "data-testid": "bench-compare" },
    el("div", { class: "pd-cardhead" }, el("h3", {}, "Comparison"), el("div", { class: "pd-inline" }, el("label", { for: "bench-base" }, "Against"), base)),
    hint,
    el("div", { class: "pd-scroll", tabindex: 0, role: "group", "aria-label": "Comparison" },
      el("table", { class: "pd-table pd-bcompare" }, el("caption", { class: "pd-unseen" }, "Results side by side"), el("thead", {}, head), body)),
    curves);
  let shown = [];
  base.addEventListener("change", draw);

  function draw() {
    const first = shown.find((entry) => entry.id === base.value) ?? shown[0];
    const ordered = [first, ...shown.filter((entry) => entry !== first)];
    head.replaceChildren(el("th", { scope: "col" }, "Measure"), ...ordered.map((entry) => el("th", { scope: "col" }, entry.name)));
    const known = MEASURES.filter(([column]) => ordered.some((entry) => typeof entry.columns[column] === "number"));
    body.replaceChildren(...known.map(([column, label, show, more]) =>
      el("tr", {}, el("th", { scope: "row" }, label), ...ordered.map((entry) => {
        const told = entry === first ? { text: "", tone: "" } : column === "exact_match" ? judgedScore(entry, first) : judged(entry.columns[column], first.columns[column], more);
        return el("td", {}, el("span", {}, show(entry.columns[column])), told.text ? el("span", { class: "pd-bratio", data: { tone: told.tone } }, told.text) : null);
      }))));
    const unlike = [];
    const isScore = ordered.some((entry) => entry.kind === "accuracy");
    if (!isScore && differs(ordered, (entry) => `${entry.spec?.input}/${entry.spec?.output}`)) unlike.push("lengths");
    if (differs(ordered, (entry) => entry.arrival)) unlike.push(isScore ? "what was asked" : "arrivals");
    if (differs(ordered, (entry) => (isScore ? "" : entry.model))) unlike.push("models");
    setText(hint, unlike.length > 0 ? `These loads differ in ${unlike.join(", ")}: their numbers say little about each other.` : "The same load each time.");
    hint.dataset.tone = unlike.length > 0 ? "bad" : "";
    for (const [plot, key] of [[itl, "itl"], [ttft, "ttft"]]) {
      const with_ = ordered.filter((entry) => (entry.curves?.[key] ?? []).length > 1);
      plot.node.hidden = with_.length === 0;
      if (with_.length === 0) continue;
      const size = with_[0].curves[key].length;
      plot.set(with_.map((entry) => ({ name: entry.name === first.name && entry !== first ? `${entry.name} (${entry.id})` : entry.name })),
        [Array.from({ length: size }, (_, index) => (index * 100) / (size - 1)), ...with_.map((entry) => entry.curves[key])]);
    }
  }

  return {
    node,
    show(entries) {
      shown = entries;
      node.hidden = entries.length < 2;
      if (node.hidden) return;
      keyed(base, entries, (entry) => entry.id, (entry) => el("option", { value: entry.id }), (option, entry) => setText(option, entry.name));
      draw();
    },
  };
}
