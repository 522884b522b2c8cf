// The Try it tab: one prompt to the selected run, its tokens as they come, and how fast they came.

import * as actions from "./actions.js";
import { el, openTab, setText } from "./dom.js";
import { milliseconds, modeLabel, number, quantile } from "./format.js";
import { store } from "./store.js";

const EXAMPLES = [
  ["A short answer", "What is the capital of France? Answer in one sentence."],
  ["A story", "Write a short story about a lighthouse keeper who finds a message in a bottle."],
  [
    "A long prompt",
    "Summarise the following notes in three sentences.\n\n" +
      "Serving a large language model has two halves. Prefill reads the whole prompt at once and is bound by " +
      "compute; decode writes one token after the other and is bound by memory. When both share a worker, a long " +
      "prompt holds up every answer that is being written. Separate workers keep the two apart, at the price of " +
      "moving the key and value cache of each prompt from one to the other. ".repeat(6),
  ],
];
const KEPT_TRIES = 6;

/** Times of one try: `gaps` between the pieces of text, in ms. */
function measure(first, last, tokens, gaps) {
  const rest = tokens - 1;
  const spanMs = last - first;
  return {
    ttft: first,
    itl: rest > 0 && spanMs > 0 ? spanMs / rest : null,
    p99: quantile(gaps, 0.99),
    rate: rest > 0 && spanMs > 0 ? (rest * 1000) / spanMs : null,
    tokens,
  };
}

function tile(name, label, hint) {
  const value = el("dd", { "data-testid": `metric-${name}` }, "–");
  return { value, node: el("div", { class: "pd-tile", title: hint }, el("dt", {}, label), value) };
}

export function tryIt(island) {
  const prompt = el("textarea", { id: "try-prompt", rows: 7, "data-testid": "try-prompt", placeholder: "Ask something" });
  prompt.value = EXAMPLES[0][1];
  const tokens = el("input", { id: "try-tokens", type: "number", min: 1, max: 4096, step: 1, value: 128 });
  const heat = el("input", { id: "try-temperature", type: "number", min: 0, max: 2, step: 0.1, value: 0.7 });
  const chat = el("input", { id: "try-chat", type: "checkbox", checked: true });
  const send = el("button", { type: "submit", class: "pd-button pd-primary", "data-testid": "try-send" }, "Send");
  const stop = el("button", { type: "button", class: "pd-button", "data-testid": "try-stop", disabled: true }, "Stop");
  const why = el("span", { class: "pd-hint", role: "status", "data-testid": "try-why" });
  const goDeploy = el("button", { type: "button", class: "pd-button", on: { click: () => openTab("deploy") } }, "Go to Deploy");
  const output = el("div", { class: "pd-output", tabindex: 0, role: "region", "aria-label": "Answer", "data-testid": "try-output" });
  const error = el("p", { class: "pd-outcome", role: "alert", data: { tone: "bad" }, "data-testid": "try-error" });
  const tiles = {
    ttft: tile("ttft", "Time to first token", "From sending the request to the first text, measured in the panel's server"),
    itl: tile("itl", "Between tokens, mean", "Time from the first to the last text over the tokens after the first"),
    p99: tile("p99", "Between tokens, p99", "99th percentile of the gaps between pieces of text"),
    rate: tile("rate", "Tokens per second", "Tokens after the first over the time that they took"),
    tokens: tile("tokens", "Tokens", "Completion tokens as the engine counted them"),
  };
  const tries = [];
  const triesBody = el("tbody");
  const columns = ["Time", "Run", "Prompt", "TTFT", "ITL mean", "ITL p99", "Tokens/s"];
  const triesTable = el(
    "div",
    { class: "pd-scroll pd-tries", hidden: true, tabindex: 0, role: "region", "aria-label": "Earlier tries" },
    el("h3", {}, "Earlier tries"),
    el("table", { class: "pd-table" },
      el("thead", {}, el("tr", {}, ...columns.map((column) => el("th", { scope: "col" }, column)))),
      triesBody,
    ),
  );
  let abort = null;

  const form = el(
    "form",
    { class: "pd-card pd-tryform" },
    el("label", { for: "try-prompt", class: "pd-label" }, "Prompt"),
    prompt,
    el("div", { class: "pd-examples", role: "group", "aria-label": "Example prompts" },
      ...EXAMPLES.map(([name, text]) =>
        el("button", { type: "button", class: "pd-button pd-quiet", on: { click: () => { prompt.value = text; prompt.focus(); } } }, name),
      ),
    ),
    el("div", { class: "pd-fields" },
      el("label", { for: "try-tokens" }, el("span", {}, "Max tokens"), tokens),
      el("label", { for: "try-temperature" }, el("span", {}, "Temperature"), heat),
      el("label", { for: "try-chat", class: "pd-check" }, chat, el("span", {}, "Chat template")),
    ),
    el("div", { class: "pd-actions" }, send, stop, why, goDeploy),
  );
  island.append(
    el("div", { class: "pd-split" },
      form,
      el("section", { class: "pd-card", "aria-label": "Result" },
        el("dl", { class: "pd-tiles" }, ...Object.values(tiles).map((one) => one.node)),
        error,
        output,
        triesTable,
      ),
    ),
  );

  function allow() {
    const run = store.run();
    const ready = run !== null && (run.state === "ready" || run.state === "degraded");
    send.disabled = !ready || abort !== null;
    stop.disabled = abort === null;
    goDeploy.hidden = ready || abort !== null;
    const waiting = run?.processes.find((process) => process.state === "starting" || process.state === "pending");
    let text = "";
    if (run === null) text = "Nothing is running: deploy first.";
    else if (!ready && run.state === "starting") {
      text = waiting ? `Wait for ${waiting.name}${waiting.stage ? `: ${waiting.stage}` : ""}.` : "The run is starting.";
    } else if (!ready) text = "The run has ended: deploy again, or choose another run above.";
    else if (abort === null) text = "Ctrl+Enter sends.";
    setText(why, text);
  }

  function show(result) {
    setText(tiles.ttft.value, milliseconds(result.ttft));
    setText(tiles.itl.value, milliseconds(result.itl));
    setText(tiles.p99.value, milliseconds(result.p99));
    setText(tiles.rate.value, number(result.rate));
    setText(tiles.tokens.value, number(result.tokens));
  }

  function keep(run, text, result) {
    const now = new Date();
    tries.unshift([
      now.toTimeString().slice(0, 8),
      `${modeLabel(run.mode)} · ${run.id.split("-").pop()}`,
      text.length > 60 ? `${text.slice(0, 60)}…` : text,
      milliseconds(result.ttft),
      milliseconds(result.itl),
      milliseconds(result.p99),
      number(result.rate),
    ]);
    tries.length = Math.min(tries.length, KEPT_TRIES);
    triesBody.replaceChildren(...tries.map((row) => el("tr", {}, ...row.map((value) => el("td", {}, value)))));
    triesTable.hidden = false;
  }

  async function run() {
    const target = store.run();
    if (target === null || send.disabled) return;
    abort = new AbortController();
    allow();
    setText(error, "");
    output.replaceChildren();
    output.setAttribute("aria-busy", "true");
    output.dataset.state = "waiting";
    show({ ttft: null, itl: null, p99: null, rate: null, tokens: null });
    const text = prompt.value;
    const body = { prompt: text, max_tokens: tokens.valueAsNumber, temperature: heat.valueAsNumber, chat: chat.checked };
    let first = null;
    let last = 0;
    let pieces = 0;
    const gaps = [];
    output.dataset.finish = "";
    try {
      for await (const event of actions.tryPrompt(target.id, body, abort.signal)) {
        if (event.type === "error") throw new Error(event.reason);
        if (event.type === "text") {
          output.append(event.text);
          output.scrollTop = output.scrollHeight;
          if (first === null) first = event.ms;
          else gaps.push(event.ms - last);
          last = event.ms;
          pieces += 1;
          output.dataset.state = "streaming";
          show(measure(first, last, pieces, gaps));
        } else if (event.type === "end" && first !== null) {
          const result = measure(first, last, event.completion_tokens ?? pieces, gaps);
          show(result);
          keep(target, text, result);
          output.dataset.finish = event.finish ?? "";
        }
      }
      if (first === null) setText(error, "The answer is empty: the model ended at once.");
      output.dataset.state = "done";
    } catch (failure) {
      const stopped = failure.name === "AbortError";
      output.dataset.state = stopped ? "stopped" : "failed";
      if (!stopped) setText(error, failure.message || "The connection to the panel was lost.");
    } finally {
      output.removeAttribute("aria-busy");
      output.normalize();
      abort = null;
      allow();
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (form.reportValidity()) run();
  });
  prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  prompt.required = true;
  stop.addEventListener("click", () => abort?.abort());
  store.on(["runs", "selected"], allow);
}
