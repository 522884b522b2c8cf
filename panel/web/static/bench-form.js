// What to measure: where the load goes, how requests arrive, how long they are, when it ends; and the same as commands.

import { loads } from "./bench-api.js";
import { copyButton } from "./clipboard.js";
import { el, keyed, setText } from "./dom.js";
import { modeLabel, shortModel } from "./format.js";
import { store } from "./store.js";

const ELSEWHERE = "";
const PRESETS = [
  ["Quick look", { arrival: "concurrency", concurrency: 2, requests: 16, duration_s: "", input: "64", output: "16" }],
  ["Short chat", { arrival: "poisson", rate: 2, concurrency: "", requests: "", duration_s: 60, input: "64-256", output: "64-128" }],
  ["Long prompt", { arrival: "concurrency", concurrency: 4, requests: 32, duration_s: "", input: "4096", output: "64" }],
  ["1024 / 1024", { arrival: "concurrency", concurrency: 8, requests: 16, duration_s: "", input: "1024", output: "1024" }],
];
const WAIT_MS = 400;

const usable = (run) => Boolean(run.router_url) && ["ready", "degraded", "unsupervised"].includes(run.state);

let count = 0;

/** A labelled control; `read` gives what the panel takes, null for an empty number. */
export function field(name, label, control, hint = "") {
  count += 1;
  control.id = `bench-${name}-${count}`;
  control.name = name;
  const about = hint ? el("span", { class: "pd-hint", id: `${control.id}-hint` }, hint) : null;
  if (about) control.setAttribute("aria-describedby", about.id);
  const node = el("div", { class: "pd-bfield" }, el("label", { for: control.id, class: "pd-label" }, label), control, about);
  const isNumber = control.type === "number";
  return { name, node, control, read: () => (isNumber ? (control.value === "" ? null : control.valueAsNumber) : control.value.trim()) };
}

export const numeric = (value, props = {}) => el("input", { type: "number", value, step: "any", ...props });
export const text = (value, props = {}) => el("input", { type: "text", value, autocomplete: "off", spellcheck: "false", ...props });
export const choice = (options) => el("select", {}, ...options.map(([value, label]) => el("option", { value }, label)));

/** Where the load goes: a run that is ready, or a URL. */
export function targetFields(prefix) {
  const run = field("run", "Send requests to", el("select", { "data-testid": `${prefix}-run` }));
  const url = field("url", "URL", text("", { placeholder: "http://HOST:PORT", "data-testid": `${prefix}-url` }), "Of any OpenAI-compatible server or router.");
  const key = field("api_key", "API key", el("input", { type: "password", autocomplete: "off" }), "Kept nowhere.");
  let touched = false;
  run.control.addEventListener("change", () => {
    touched = true;
    show();
  });
  function show() {
    const elsewhere = run.control.value === ELSEWHERE;
    url.node.hidden = !elsewhere;
    key.node.hidden = !elsewhere;
  }
  function offer() {
    const held = run.control.value;
    const ready = store.list().filter(usable);
    const options = [...ready.map((one) => [one.id, `${one.id}: ${modeLabel(one.mode)}, ${shortModel(one.model)}`]), [ELSEWHERE, "Another URL …"]];
    keyed(run.control, options, ([id]) => id || "elsewhere", ([id]) => el("option", { value: id }), (node, [, label]) => setText(node, label));
    const wanted = touched ? held : store.selected;
    run.control.value = ready.some((one) => one.id === wanted) ? wanted : touched && held === ELSEWHERE ? ELSEWHERE : (ready[0]?.id ?? ELSEWHERE);
    show();
  }
  store.on(["runs", "selected"], offer);
  return {
    nodes: [run.node, url.node, key.node],
    read: () => (run.control.value === ELSEWHERE ? { url: url.read(), api_key: key.control.value } : { run: run.control.value }),
    missing: () => (run.control.value === ELSEWHERE && !url.read() ? "Name the URL of a server, or deploy a run first." : ""),
  };
}

/** The form; `start(body)` is called with what the panel takes, `onChange` when anything changes. */
export function benchForm(start) {
  const target = targetFields("bench");
  const arrival = field("arrival", "Arrivals", choice([["concurrency", "Fixed concurrency"], ["poisson", "Poisson, at a rate"], ["constant", "Equal gaps, at a rate"], ["burst", "All at once"]]));
  const rate = field("rate", "Requests per second", numeric(2, { min: 0, "data-testid": "bench-rate" }));
  const concurrency = field("concurrency", "Requests at once", numeric(2, { min: 1, step: 1, "data-testid": "bench-concurrency" }));
  const requests = field("requests", "Requests", numeric(16, { min: 1, step: 1, "data-testid": "bench-requests" }));
  const duration = field("duration_s", "Or seconds", numeric("", { min: 1, "data-testid": "bench-duration" }));
  const input = field("input", "Prompt tokens", text("64", { "data-testid": "bench-input" }), "1024, 512-1024 or 1024~256");
  const output = field("output", "Answer tokens", text("16", { "data-testid": "bench-output" }), "Written likewise");
  const seed = field("seed", "Seed", numeric(0, { min: 0, step: 1 }));
  const warmup = field("warmup", "Warm-up requests", numeric(1, { min: 0, step: 1 }), "Not counted");
  const route = field("route", "Route", choice([["completions", "/v1/completions"], ["chat", "/v1/chat/completions"], ["generate", "/generate"]]));
  const prompts = field("prompts", "File of prompts", text("", { placeholder: "/path/prompts.jsonl" }), "On the panel's host: ShareGPT, JSONL or text. Empty: random tokens.");
  const ttft = field("slo_ttft_ms", "Limit TTFT (ms)", numeric("", { min: 1 }), "For goodput");
  const itl = field("slo_itl_ms", "Limit ITL (ms)", numeric("", { min: 1 }), "Mean per request");
  const model = field("model", "Model name", text(""), "Empty: the server's first");
  const name = field("name", "Name of the result", text("", { maxlength: 200 }));
  const fields = [arrival, rate, concurrency, requests, duration, input, output, seed, warmup, route, prompts, ttft, itl, model, name];
  const error = el("p", { class: "pd-outcome", role: "alert", data: { tone: "bad" }, "data-testid": "bench-error" });
  const button = el("button", { type: "submit", class: "pd-button pd-primary", "data-testid": "bench-start" }, "Start");
  const commands = el("div", { class: "pd-stack" });
  const same = el("details", { class: "pd-bmore", "data-testid": "bench-commands" }, el("summary", {}, "The same as a command"), commands);

  function fit() {
    const kind = arrival.control.value;
    rate.node.hidden = kind !== "poisson" && kind !== "constant";
    concurrency.node.hidden = kind === "burst";
    duration.node.hidden = kind === "burst";
  }

  function body() {
    const values = Object.fromEntries(fields.filter((one) => !one.node.hidden).map((one) => [one.name, one.read()]));
    // What is left empty is the panel's to choose.
    return { ...target.read(), ...Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null && value !== "" && !Number.isNaN(value))) };
  }

  const presets = PRESETS.map(([label, values]) =>
    el("button", { type: "button", class: "pd-button pd-quiet", on: { click: () => take(values) } }, label));

  function take(values) {
    for (const one of fields) if (one.name in values) one.control.value = values[one.name];
    fit();
    changed();
  }

  let timer = 0;
  function changed() {
    clearTimeout(timer);
    timer = setTimeout(showCommands, WAIT_MS);
  }

  async function showCommands() {
    if (!same.open) return;
    if (target.missing()) {
      commands.replaceChildren(el("p", { class: "pd-hint" }, target.missing()));
      return;
    }
    try {
      const found = await loads.commands(body());
      commands.replaceChildren(...found.map((one) =>
        el("section", { class: "pd-bcommand", "aria-label": one.program },
          el("div", { class: "pd-cardhead" }, el("h4", {}, one.program), copyButton("Copy", () => one.command, { "aria-label": `Copy the command of ${one.program}` })),
          el("pre", { tabindex: 0, class: "pd-bcode" }, one.command),
          ...one.remarks.map((remark) => el("p", { class: "pd-hint" }, remark)))));
    } catch (failure) {
      commands.replaceChildren(el("p", { class: "pd-hint" }, failure.message));
    }
  }

  same.addEventListener("toggle", showCommands);
  const node = el("form", { class: "pd-card pd-bform", novalidate: true, "aria-label": "Load" },
    el("h3", {}, "Load"),
    ...target.nodes,
    el("div", { class: "pd-examples", role: "group", "aria-label": "Presets" }, ...presets),
    arrival.node,
    el("div", { class: "pd-bgrid" }, rate.node, concurrency.node, requests.node, duration.node, input.node, output.node),
    el("details", { class: "pd-bmore" }, el("summary", {}, "More: limits, prompts, route, seed"),
      el("div", { class: "pd-bgrid" }, ttft.node, itl.node, seed.node, warmup.node, route.node, model.node), prompts.node, name.node),
    el("div", { class: "pd-actions" }, button),
    error,
    same,
  );
  node.addEventListener("input", () => {
    fit();
    changed();
  });
  node.addEventListener("submit", async (event) => {
    event.preventDefault();
    setText(error, target.missing());
    if (target.missing()) return;
    button.disabled = true;
    try {
      await start(body());
    } catch (failure) {
      setText(error, failure.message);
    } finally {
      button.disabled = false;
    }
  });
  arrival.control.value = "concurrency";
  fit();
  return { node, refresh: changed };
}
