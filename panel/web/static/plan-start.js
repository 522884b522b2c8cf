// What a deployment begins with: a preset, a file of the person's own, or something pasted. And keeping it as a preset.

import { el, setAttribute, setText } from "./dom.js";
import { askJson, plan } from "./plan-store.js";
import { findingList, planPaste } from "./plan-paste.js";

const MOST_BYTES = 1 << 20;

function presetRow(preset, choose) {
  const facts = [preset.model, preset.engine, preset.dialect, preset.shape].filter(Boolean).join("  ·  ");
  const verified = preset.own ? "" : preset.verified ? `Seen working: ${preset.verified}` : "Not verified";
  return el("li", {},
    el("button", { type: "button", class: "pd-plan-preset", disabled: !preset.usable, on: { click: () => choose(preset) } },
      el("b", {}, preset.name), preset.own ? el("span", { class: "pd-state" }, "yours") : null,
      el("span", { class: "pd-plan-presetabout" }, preset.about),
      el("span", { class: "pd-hint" }, facts), preset.hardware ? el("span", { class: "pd-hint" }, preset.hardware) : null,
      verified ? el("span", { class: "pd-hint" }, verified) : null));
}

function presetList(done, fail) {
  const search = el("input", { type: "search", placeholder: "Model, hardware, engine …", "aria-label": "Search presets", "data-testid": "preset-search" });
  const count = el("span", { class: "pd-hint", role: "status" });
  const list = el("ul", { class: "pd-plan-presets", "data-testid": "presets", tabindex: "0", "aria-label": "Presets" });
  const node = el("div", { class: "pd-stack pd-plan-pick" }, el("div", { class: "pd-toolbar" }, search, count), list);
  let presets = [];

  async function choose({ name, own }) {
    try {
      const { text } = await askJson("start-text", { name, own });
      plan.begin({ kind: own ? "own" : "preset", name: `preset ${name}`, text });
      done();
    } catch (error) {
      fail(error.message);
    }
  }

  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = presets.filter((preset) => {
      const all = Object.values(preset).join(" ").toLowerCase();
      return words.every((word) => all.includes(word));
    });
    setText(count, `${found.length} of ${presets.length}`);
    list.replaceChildren(...found.map((preset) => presetRow(preset, choose)));
  }

  search.addEventListener("input", show);
  return {
    node,
    async open() {
      try {
        presets = (await askJson("starts")).starts;
        show();
        search.focus();
      } catch (error) {
        fail(error.message);
      }
    },
  };
}

function saving(tell) {
  const name = el("input", { type: "text", maxlength: 64, spellcheck: "false", autocomplete: "off", "aria-label": "Name of the preset" });
  const button = el("button", { type: "submit", class: "pd-button" }, "Save as preset");
  const node = el("form", { class: "pd-actions", "aria-label": "Save as preset" }, name, button);
  let asked = "";
  name.addEventListener("input", () => {
    asked = "";
    setText(button, "Save as preset");
  });
  node.addEventListener("submit", async (event) => {
    event.preventDefault();
    const wanted = name.value.trim();
    if (!wanted) {
      name.focus();
      return;
    }
    try {
      const { path, taken } = await askJson("presets", { name: wanted, text: await plan.settled(), replace: asked === wanted });
      // A second press replaces what is there.
      asked = taken ? wanted : "";
      setText(button, taken ? "Replace it" : "Save as preset");
      if (taken) tell(`You have a preset ${wanted} already; choose another name, or replace it.`, "bad");
      else tell(`Saved as ${path}.`, "good");
    } catch (error) {
      tell(error.message, "bad");
    }
  });
  return {
    node,
    offer: () => {
      if (!name.value && plan.good) name.placeholder = plan.good.name;
    },
  };
}

export function planStart() {
  const outcome = el("p", { class: "pd-outcome", role: "status", "data-testid": "plan-outcome" });
  const tell = (text, tone) => {
    setText(outcome, text);
    outcome.dataset.tone = tone;
  };
  const fail = (text) => tell(text, "bad");
  /** Closes what is open; whoever works with the keyboard goes on at its button. */
  const close = () => {
    const open = Object.values(doors).find((button) => button.getAttribute("aria-expanded") === "true");
    toggle("");
    open?.focus({ preventScroll: true });
  };
  const presets = presetList(() => {
    tell("", "idle");
    close();
  }, fail);
  const paste = planPaste(close, tell);
  const file = el("input", { type: "file", hidden: true, accept: ".yaml,.yml,.sh,.json,.txt,.sbatch", "aria-label": "Deployment file", "data-testid": "plan-file" });
  const doors = {
    presets: el("button", { type: "button", class: "pd-button", "aria-expanded": "false" }, "Presets"),
    paste: el("button", { type: "button", class: "pd-button", "aria-expanded": "false" }, "Paste a command or config"),
  };
  const openFile = el("button", { type: "button", class: "pd-button" }, "Open a file …");
  const begun = el("p", { class: "pd-hint", "data-testid": "plan-begun" });
  const back = el("button", { type: "button", class: "pd-button pd-quiet", on: { click: () => plan.backToStart() } }, "Back to it");
  const anew = el("button", { type: "button", class: "pd-button pd-quiet" }, "Start over");
  const save = saving(tell);
  const remarksTitle = el("summary");
  const remarks = el("details", { class: "pd-plan-found", hidden: true, "data-testid": "plan-remarks" });
  let remarked = null;
  const node = el("section", { class: "pd-card pd-plan-start" },
    el("div", { class: "pd-toolbar" }, el("span", { class: "pd-label" }, "Begin with"), ...Object.values(doors), openFile, file, anew),
    presets.node, paste.node, outcome,
    el("div", { class: "pd-cardhead" }, el("div", { class: "pd-cardtitle" }, begun, back), save.node), remarks);

  function toggle(name) {
    for (const [door, button] of Object.entries(doors)) button.setAttribute("aria-expanded", String(door === name));
    presets.node.hidden = name !== "presets";
    paste.node.hidden = name !== "paste";
    if (name === "presets") presets.open();
    if (name === "paste") paste.open();
  }

  for (const [name, button] of Object.entries(doors)) {
    button.addEventListener("click", () => toggle(button.getAttribute("aria-expanded") === "true" ? "" : name));
  }
  anew.addEventListener("click", () => plan.begin({ kind: "default", name: "the bundled engine", text: plan.form.default }));
  openFile.addEventListener("click", () => file.click());
  file.addEventListener("change", async () => {
    const source = file.files[0];
    if (!source) return;
    file.value = "";
    if (source.size > MOST_BYTES) {
      fail(`${source.name} has more than 1 MiB; use the command line for it.`);
      return;
    }
    // What the file holds is found out by the panel: a deployment is taken, a command or config is looked at.
    toggle("paste");
    paste.take(await source.text(), source.name);
  });

  function update() {
    if (!plan.start) return;
    const changed = plan.text !== plan.start.text;
    setText(begun, `Begun with ${plan.start.name}${changed ? ", changed since" : ""}.`);
    back.hidden = !changed;
    setAttribute(save.node, "hidden", !plan.form?.saves);
    if (remarked !== plan.start) {
      remarked = plan.start;
      const said = plan.start.remarks ?? [];
      remarks.hidden = said.length === 0;
      remarks.open = true;
      setText(remarksTitle, `${said.length} remark${said.length === 1 ? "" : "s"} on what was taken over`);
      remarks.replaceChildren(remarksTitle, findingList(said));
    }
    save.offer();
  }

  plan.on(["answer", "start", "form"], update);
  toggle("");
  return { node, tell };
}
