// What a plan comes to: the commands and files of each node to read, copy and save, and what changed since the start.

import { copyButton, saveButton } from "./clipboard.js";
import { el, setAttribute, setText } from "./dom.js";
import { askJson, plan } from "./plan-store.js";

const KINDS = { command: "Command", file: "Config file", program: "Program", test: "Test" };
const SIGNS = { "+": "added", "-": "removed", "@": "place", " ": "same" };

/** A command's lines with its options set apart; every part is set as text. */
function codeNodes(text) {
  return text.split("\n").flatMap((line, index) => {
    const match = /^(\s*)(--?[A-Za-z][^\s=]*)(.*)$/.exec(line);
    const parts = match ? [match[1], el("b", {}, match[2]), match[3]] : [line];
    return index > 0 ? ["\n", ...parts] : parts;
  });
}

/** GPUs in short: 0–7 where they follow each other. */
export function gpuWords(gpus) {
  const numbers = gpus.map(Number);
  const follows = gpus.length > 1 && numbers.every((gpu, index) => gpu === numbers[0] + index);
  return `GPU ${follows ? `${gpus[0]}–${gpus.at(-1)}` : gpus.join(", ")}`;
}

function entryFacts(entry) {
  if (entry.kind !== "command") return "";
  const ports = Object.entries(entry.ports).map(([purpose, port]) => `${purpose} ${port}`);
  const gpus = entry.gpus.length > 0 ? [gpuWords(entry.gpus)] : [];
  const nics = entry.nics.length > 0 ? [entry.nics.join(", ")] : [];
  return [...gpus, ...nics, ...ports].join("  ·  ");
}

/** A card of one command or file. */
export function codeCard({ title, role = "", kind = "", facts = "", text, file }) {
  const name = el("b", { class: "pd-name pd-role", data: { role } }, title);
  const code = el("pre", { class: "pd-plan-code", tabindex: "0", role: "group", "aria-label": `${kind || "File"} ${title}` });
  code.append(...(kind === KINDS.command || kind === KINDS.test ? codeNodes(text) : [text]));
  return el("section", { class: "pd-plan-entry", data: { entry: title } },
    el("div", { class: "pd-cardhead" },
      el("div", { class: "pd-cardtitle" }, name, el("span", { class: "pd-hint" }, [kind, facts].filter(Boolean).join("  ·  "))),
      el("div", { class: "pd-actions" },
        copyButton("Copy", () => text, { "aria-label": `Copy ${title}` }),
        saveButton("Save", "text/plain", () => file, () => `${text}${text.endsWith("\n") ? "" : "\n"}`, { "aria-label": `Save ${title}` }))),
    code);
}

const fileName = (entry) => (entry.kind === "command" || entry.kind === "test" ? `${entry.name}.sh` : entry.name.split("/").at(-1));

function commandsView() {
  const pick = el("select", { "aria-label": "Node", "data-testid": "plan-node" });
  const before = el("button", { type: "button", class: "pd-button", "aria-label": "Node before" }, "‹");
  const after = el("button", { type: "button", class: "pd-button", "aria-label": "Next node" }, "›");
  const bar = el("div", { class: "pd-toolbar" }, el("label", { class: "pd-inline" }, el("span", { class: "pd-hint" }, "Node"), pick), before, after);
  const list = el("div", { class: "pd-plan-entries", "data-testid": "plan-commands" });
  const node = el("div", { class: "pd-stack" }, bar, list);
  let chosen = "";
  let shown = "";
  let nodes = [];

  function show() {
    const at = Math.max(0, nodes.findIndex(({ name }) => name === chosen));
    const one = nodes[at];
    if (!one) return;
    pick.value = one.name;
    before.disabled = at === 0;
    after.disabled = at === nodes.length - 1;
    const key = JSON.stringify(one);
    if (key === shown) return;
    shown = key;
    list.replaceChildren(...one.entries.map((entry) => codeCard({ title: entry.name, role: entry.role, kind: KINDS[entry.kind], facts: entryFacts(entry), text: entry.text, file: fileName(entry) })));
  }

  function step(by) {
    chosen = nodes[nodes.findIndex(({ name }) => name === pick.value) + by]?.name ?? chosen;
    show();
  }

  pick.addEventListener("change", () => {
    chosen = pick.value;
    show();
  });
  before.addEventListener("click", () => step(-1));
  after.addEventListener("click", () => step(1));
  return {
    node,
    update(answer) {
      const names = answer.nodes.map(({ name }) => name);
      if (names.join("\n") !== nodes.map(({ name }) => name).join("\n") || pick.options.length !== names.length) {
        pick.replaceChildren(...answer.nodes.map(({ name, address }) => el("option", { value: name }, address && address !== name ? `${name} (${address})` : name || "this host")));
      }
      nodes = answer.nodes;
      bar.hidden = nodes.length < 2;
      show();
    },
  };
}

function diffView() {
  const kinds = ["yaml", "commands"].map((of) => el("button", { type: "button", class: "pd-button", data: { of }, "aria-pressed": String(of === "yaml") }, of === "yaml" ? "File" : "Commands"));
  const words = el("p", { class: "pd-hint", role: "status", "data-testid": "plan-diff-words" });
  const lines = el("ol", { class: "pd-plan-diff", tabindex: "0", "aria-label": "Changes since the start", "data-testid": "plan-diff" });
  const node = el("div", { class: "pd-stack" }, el("div", { class: "pd-toolbar" }, el("div", { class: "pd-segments", role: "group", "aria-label": "Compare" }, ...kinds), words), lines);
  let of = "yaml";
  let asked = null;

  async function update() {
    if (!plan.start || !plan.answer || plan.answer.values === null) return;
    asked?.abort();
    const question = new AbortController();
    asked = question;
    try {
      const found = await askJson("diff", { before: plan.start.text, after: plan.text, of }, question.signal);
      if (asked !== question) return;
      setText(words, found.lines.length === 0 ? `Nothing differs from ${plan.start.name}.` : `${found.added} lines added and ${found.removed} removed since ${plan.start.name}.`);
      lines.replaceChildren(...found.lines.map(({ sign, text }) =>
        el("li", { data: { sign: SIGNS[sign] } }, el("span", { class: "pd-plan-sign" }, sign === "@" ? "" : sign), el("span", { class: "pd-unseen" }, `${SIGNS[sign]}: `), el("code", {}, text || " "))));
      lines.hidden = found.lines.length === 0;
    } catch (error) {
      if (error.name === "AbortError" || asked !== question) return;
      setText(words, error.message);
      lines.replaceChildren();
      lines.hidden = true;
    }
  }

  for (const button of kinds) {
    button.addEventListener("click", () => {
      of = button.dataset.of;
      for (const one of kinds) one.setAttribute("aria-pressed", String(one === button));
      update();
    });
  }
  return { node, update };
}

/** The tabs of what a plan comes to. */
export function planPreview() {
  const views = { commands: commandsView(), diff: diffView() };
  const titles = { commands: "Commands and files", diff: "Changes" };
  let open = "commands";
  const buttons = Object.keys(views).map((name) => el("button", { type: "button", class: "pd-button", data: { view: name }, "aria-pressed": String(name === open) }, titles[name]));
  const speed = el("span", { class: "pd-hint", "data-testid": "plan-speed" });
  const body = el("div", { class: "pd-plan-views" }, ...Object.values(views).map(({ node }) => node));
  const node = el("section", { class: "pd-card pd-plan-preview", "data-testid": "plan-preview" },
    el("div", { class: "pd-cardhead" }, el("div", { class: "pd-segments", role: "group", "aria-label": "View" }, ...buttons), speed), body);

  function show() {
    for (const [name, view] of Object.entries(views)) view.node.hidden = name !== open;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.view === open));
  }

  function update() {
    if (!plan.answer) return;
    setText(speed, plan.serverMs === null ? "" : `planned in ${plan.serverMs < 10 ? plan.serverMs.toFixed(1) : Math.round(plan.serverMs)} ms`);
    setAttribute(body, "data-stale", plan.answer.error !== null);
    if (plan.good) views.commands.update(plan.good);
    if (open === "diff") views.diff.update();
  }

  for (const button of buttons) {
    button.addEventListener("click", () => {
      open = button.dataset.view;
      show();
      update();
    });
  }
  show();
  return { node, update };
}
