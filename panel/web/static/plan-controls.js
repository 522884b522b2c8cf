// The controls of the form: each shows what a field holds and tells what the person makes of it. They know no types.

import { askJson } from "./plan-store.js";
import { el, setText } from "./dom.js";

const ENGINES = { bundled: "Bundled engine", sglang: "SGLang", vllm: "vLLM" };
const AS_IS = { maybe: "as the engine does" };

/** Sets what a control shows unless the person is at work in it. */
function settle(node, text) {
  if (document.activeElement === node || node.value === text) return;
  node.value = text;
}

function typed(field, tell, tag, props = {}) {
  const numeric = field.kind === "int" ? "numeric" : field.kind === "number" ? "decimal" : null;
  const node = el(tag, { spellcheck: "false", autocomplete: "off", autocapitalize: "off", inputmode: numeric, placeholder: field.default ?? "", ...props });
  let shown = "";
  node.addEventListener("input", () => tell(node.value));
  // What was typed may read otherwise once it is a value, such as 08.
  node.addEventListener("blur", () => settle(node, shown));
  return {
    node,
    inputs: [node],
    set(value) {
      shown = String(value ?? "");
      settle(node, shown);
      if (tag === "textarea") node.rows = Math.min(12, Math.max(2, node.value.split("\n").length));
    },
    hint(text) {
      node.placeholder = field.default ?? text;
    },
  };
}

function ticked(field, tell) {
  const node = el("input", { type: "checkbox" });
  node.addEventListener("change", () => tell(node.checked));
  return {
    node,
    inputs: [node],
    set(value) {
      node.checked = value === undefined ? field.default === true : value === true;
    },
  };
}

function chosen(tell, options, usual = "") {
  const node = el("select");
  let shown = null;
  node.addEventListener("change", () => tell(node.value));
  function fill(value) {
    const wanted = options();
    if (!wanted.some(([one]) => one === value)) wanted.push([value, value]);
    const key = JSON.stringify(wanted);
    if (key !== shown) {
      shown = key;
      node.replaceChildren(...wanted.map(([one, label]) => el("option", { value: one }, label)));
    }
    node.value = value;
  }
  return { node, inputs: [node], set: (value) => fill(String(value ?? usual)) };
}

/** What a choice offers under the dialect that is meant. */
function offers(field, context) {
  const dialect = context.dialect();
  const none = (label) => [["", label]];
  if (field.path === "engine") {
    const engines = [...new Set(context.dialects().map(({ engine }) => engine))];
    return engines.map((name) => [name, ENGINES[name] ?? name]);
  }
  if (field.path === "dialect") {
    const engine = context.value("engine") ?? "bundled";
    const own = context.dialects().filter((one) => one.engine === engine);
    return [...none("as the version says"), ...own.map(({ name, title }) => [name, title])];
  }
  if (field.path === "transport" && dialect) return dialect.transports.map((name) => [name, name]);
  if (field.path === "router.kind" && dialect) {
    return [...none(dialect.routers.length > 0 ? `${dialect.routers[0]}, the usual one` : "none"), ...dialect.routers.map((name) => [name, name])];
  }
  if (field.path === "router.policy") {
    const policies = context.policies()[context.value("router.kind") || dialect?.routers[0]] ?? [];
    return [...none("the router's own"), ...policies.map((name) => [name, name])];
  }
  const choices = field.choices.map((name) => [name, name]);
  return field.default === null ? [...none("the usual one"), ...choices] : choices;
}

/** RDMA NICs: left to the engine, by affinity, a list, or a map by GPU; those of this host are there to pick. */
function nics(field, tell) {
  const modes = [
    ...(field.default === null ? [["", field.path === "workers.nics" ? "as for KV transfer" : "as for all workers"]] : []),
    ["auto", "left to the engine"],
    ["affinity", "the nearest of each GPU"],
    ["list", "these, for all GPUs"],
    ["map", "by GPU"],
  ];
  const mode = el("select", {}, ...modes.map(([value, label]) => el("option", { value }, label)));
  const list = el("input", { spellcheck: "false", autocomplete: "off", placeholder: "mlx5_0 mlx5_1", "aria-label": "RDMA NICs by name" });
  const map = el("textarea", { rows: 3, spellcheck: "false", placeholder: "0: mlx5_0\n1: mlx5_1", "aria-label": "RDMA NICs by GPU, one GPU a line" });
  const picks = el("div", { class: "pd-plan-picks", role: "group", "aria-label": "RDMA NICs of this host" });
  const fill = el("button", { type: "button", class: "pd-button pd-quiet" }, "Take this host's");
  const note = el("p", { class: "pd-hint" });
  const node = el("div", { class: "pd-plan-nics" }, mode, list, map, picks, fill, note);
  let here = null;

  const names = () => list.value.split(/[\s,]+/).filter(Boolean);
  const send = () => tell({ mode: mode.value, text: mode.value === "map" ? map.value : mode.value === "list" ? list.value : "" });

  function arrange() {
    list.hidden = mode.value !== "list";
    map.hidden = mode.value !== "map";
    picks.hidden = list.hidden || here === null;
    fill.hidden = map.hidden || here === null || Object.keys(here.map).length === 0;
    setText(note, list.hidden && map.hidden ? "" : here === null ? "" : here.nics.length === 0 ? "This host has no RDMA NIC." : "");
    for (const box of picks.querySelectorAll("input")) box.checked = names().includes(box.value);
  }

  async function look() {
    if (here !== null || !["list", "map"].includes(mode.value)) return;
    here = { nics: [], map: {} };
    try {
      here = await askJson("nics");
    } catch {
      here = null;
      return;
    }
    picks.replaceChildren(...here.nics.map(({ name, state }) => {
      const box = el("input", { type: "checkbox", value: name, on: { change: () => {
        const rest = names().filter((one) => one !== name);
        list.value = (box.checked ? [...rest, name] : rest).join(" ");
        send();
      } } });
      return el("label", { class: "pd-check" }, box, el("span", {}, state === "bad" ? `${name} (not usable)` : name));
    }));
    arrange();
  }

  mode.addEventListener("change", () => {
    arrange();
    look();
    send();
  });
  list.addEventListener("input", () => {
    arrange();
    send();
  });
  map.addEventListener("input", send);
  fill.addEventListener("click", () => {
    map.value = Object.entries(here.map).map(([gpu, found]) => `${gpu}: ${found.join(" ")}`).join("\n");
    send();
  });
  return {
    node,
    inputs: [mode, list, map],
    set(value) {
      const shown = value ?? { mode: field.default ?? "", text: "" };
      if (!modes.some(([one]) => one === shown.mode)) return;
      mode.value = shown.mode;
      if (shown.mode === "list") settle(list, shown.text);
      if (shown.mode === "map") settle(map, shown.text);
      arrange();
      look();
    },
  };
}

const HINTS = {
  hosts: "node01 10.0.0.1 gpus=8 nics=mlx5_0,mlx5_1 gbps=400",
  env: "NAME=value",
  flags: "page-size 64",
  words: "node01 node02",
  ints: "0 1 2 3",
};

/** Makes the control of a field; `tell(shown)` takes what the person makes of it. */
export function control(field, tell, context) {
  if (field.kind === "bool" || field.kind === "part") return ticked(field, tell);
  if (field.kind === "maybe") return chosen(tell, () => [["", AS_IS.maybe], ["yes", "yes"], ["no", "no"]]);
  if (field.kind === "choice") return chosen(tell, () => offers(field, context), field.default ?? "");
  if (field.kind === "nics") return nics(field, tell);
  if (["lines", "env", "flags", "hosts", "long"].includes(field.kind)) return typed(field, tell, "textarea", { placeholder: HINTS[field.kind] ?? "" });
  return typed(field, tell, "input", { type: "text", placeholder: field.default ?? (field.path.endsWith("hosts") ? HINTS.words : field.kind === "ints" ? HINTS.ints : "") });
}

/** True for a control that needs the whole width. */
export function isWide(field) {
  return ["nics", "hosts", "env", "flags", "lines", "long"].includes(field.kind) || ["model", "metadata.server", "run.image"].includes(field.path) || field.path.endsWith(".hosts");
}
