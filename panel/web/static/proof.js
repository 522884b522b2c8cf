// Below the charts: one button that proves which way the KV travels, its progress, and the last result with its evidence.

import { beginProof, proofOf } from "./actions.js";
import { el, keyed, setHidden, setText } from "./dom.js";
import { store } from "./store.js";

const ASK_MS = 700;
const TONES = { true: "good", false: "bad" };

function size(bytes) {
  return bytes === null || bytes === undefined ? "not known" : `${(bytes / 1e6).toFixed(2)} MB`;
}

function total(pair, way) {
  return pair ? pair[way].toLocaleString("en-US") : "–";
}

/** The cells of one row of evidence. */
export function evidenceCells(one, expected) {
  const moved = one.moved;
  // Before and after are those of the direction that moved more.
  const way = moved && moved[1] > moved[0] ? 1 : 0;
  const share = moved && expected ? `${Math.round((100 * Math.max(...moved)) / expected)} %` : "–";
  return [
    total(one.before, way),
    total(one.after, way),
    moved ? size(moved[0]) : "–",
    moved ? size(moved[1]) : one.reason || "cannot be read",
    moved ? size(Math.max(...one.background)) : "–",
    share,
  ];
}

function row() {
  return el("tr", {}, el("th", { scope: "row" }), ...Array.from({ length: 6 }, () => el("td", {})));
}

function table() {
  const heads = ["Counter", "Before, bytes", "After, bytes", "Sent", "Received", "Background", "Share of KV"];
  const body = el("tbody", {});
  const node = el(
    "div",
    { class: "pd-proof-scroll", tabindex: "0", role: "region", "aria-label": "Evidence of the proof" },
    el("table", { class: "pd-proof-table" }, el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))), body),
  );
  return { node, body };
}

export function proof(island) {
  const button = el("button", { type: "button", class: "pd-button", "data-testid": "prove" }, "Prove the transport");
  const says = el("p", { class: "pd-proof-says", role: "status", "data-testid": "proof-says" });
  const bar = el("progress", { max: "1", value: "0", "aria-label": "Progress of the proof" });
  const when = el("p", { class: "pd-hint", "data-testid": "proof-when" });
  const evidence = table();
  const details = el("details", { class: "pd-proof-evidence" }, el("summary", {}, "Evidence"), evidence.node);
  const intro = el("p", { class: "pd-hint" }, "Sends three test requests and compares the counters of every link before and after: what a library says of itself proves nothing.");
  const section = el("section", { class: "pd-card pd-proof", "aria-label": "Proof of transport" }, el("h3", {}, "Proof of transport"), intro, el("div", { class: "pd-proof-line" }, button, bar), says, when, details);
  island.append(section);

  let shown = "";
  // Told rather than asked: asking makes the browser lay out the page between two changes of it.
  let wide = false;
  // Only the newest question is listened to: a run may be left and chosen again while one is under way.
  let turn = 0;

  function draw(view) {
    const running = view.state === "running";
    const made = view.proof;
    button.disabled = running;
    bar.hidden = !running;
    bar.value = view.share;
    const text = running || view.state === "failed" ? view.text : (made?.verdict.sentence ?? "");
    setText(says, text);
    says.dataset.tone = view.state === "failed" ? "bad" : running ? "idle" : (TONES[made?.verdict.as_asked] ?? "idle");
    when.hidden = details.hidden = !made;
    if (!made) return;
    const moved = made.expected_bytes === null ? "The engine does not say how much KV it moved." : `The engine moved ${size(made.expected_bytes)} of KV (${made.expected_source})${made.own_bytes ? `, up to ${size(made.own_bytes)} of it the deployment's own load by the rate before` : ""}.`;
    setText(when, `Proved at ${new Date(made.at * 1000).toLocaleString()} with ${made.requests} requests, ${made.prompt_tokens} prompt tokens in all. ${moved}`);
    keyed(evidence.body, made.evidence, (one) => `${one.kind} ${one.name}`, row, (node, one) => {
      setText(node.children[0], [one.kind, one.name, one.fabric].filter(Boolean).join(" "));
      node.title = one.source;
      evidenceCells(one, made.expected_bytes).forEach((cell, index) => setText(node.children[index + 1], cell));
    });
  }

  async function ask(run, question) {
    const mine = ++turn;
    let view;
    try {
      view = await question(run);
    } catch (error) {
      view = { state: "failed", text: error.message, share: 0, proof: null };
    }
    if (mine !== turn) return;
    draw(view);
    if (view.state === "running") setTimeout(() => mine === turn && ask(run, proofOf), ASK_MS);
  }

  function follow() {
    const run = store.run();
    setHidden(section, !run || run.mode !== "pd");
    if (!run || section.hidden || run.id === shown || !wide || document.hidden) return;
    shown = run.id;
    draw({ state: "none", text: "", share: 0, proof: null });
    ask(shown, proofOf);
  }

  button.addEventListener("click", () => ask(shown, beginProof));
  store.on(["runs", "selected", "samples"], follow);
  new ResizeObserver((entries) => {
    wide = entries.at(-1).contentRect.width > 0;
    follow();
  }).observe(island);
}
