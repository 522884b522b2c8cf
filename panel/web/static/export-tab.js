// The Export tab: the planned deployment as scripts to take away, to look at first, and as one zip file.

import { el, isVisible, openTab, setAttribute, setText } from "./dom.js";
import { give } from "./give.js";
import { codeCard } from "./plan-preview.js";
import { ask, askJson, plan } from "./plan-store.js";

const KEY = "pdpanel.export";

function kept() {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

export function exportTab(island) {
  const title = el("h3", {}, "Export");
  const subject = el("p", { class: "pd-facts", "data-testid": "export-subject" });
  const change = el("button", { type: "button", class: "pd-button", on: { click: () => openTab("plan") } }, "Change the deployment");
  const choices = el("fieldset", { class: "pd-plan-formats" }, el("legend", {}, "As"));
  const zip = el("button", { type: "button", class: "pd-button pd-primary", disabled: true, "data-testid": "export-zip" }, "Download all as zip");
  const state = el("p", { class: "pd-hint", role: "status" });
  const outcome = el("p", { class: "pd-outcome", role: "alert", "data-tone": "bad", "data-testid": "export-outcome" });
  const list = el("ul", { class: "pd-plan-files", "aria-label": "Files", "data-testid": "export-files" });
  const shown = el("div", { class: "pd-plan-entries", "data-testid": "export-file" });
  const body = el("div", { class: "pd-plan-export" }, list, shown);
  island.append(el("div", { class: "pd-stack" },
    el("section", { class: "pd-card" }, el("div", { class: "pd-cardhead" }, el("div", {}, title, subject), el("div", { class: "pd-actions" }, change, zip)), choices, state, outcome),
    el("section", { class: "pd-card" }, body)));

  let formats = [];
  let format = "";
  let files = [];
  let opened = "";
  let asked = null;
  let exported = null;

  function showFile() {
    const file = files.find(({ path }) => path === opened) ?? files[0];
    for (const button of list.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.path === file?.path));
    shown.replaceChildren(...(file ? [codeCard({ title: file.path, kind: file.executable ? "Script" : "File", text: file.text, file: file.path.split("/").at(-1) })] : []));
  }

  function showFiles() {
    list.replaceChildren(...files.map(({ path, executable, text }) =>
      el("li", {}, el("button", { type: "button", class: "pd-plan-filename", data: { path }, on: { click: () => {
        opened = path;
        showFile();
      } } }, el("code", {}, path), el("span", { class: "pd-hint" }, `${executable ? "run it · " : ""}${text.split("\n").length} lines`)))));
    showFile();
  }

  async function load() {
    if (!plan.answer || !format || !isVisible(island)) return;
    const wrong = plan.answer.error;
    zip.disabled = wrong !== null;
    setText(subject, plan.good ? `${plan.good.name}  ·  ${plan.good.model}  ·  ${plan.good.nodes.length} host${plan.good.nodes.length === 1 ? "" : "s"}` : "");
    if (wrong) {
      setText(outcome, `${wrong.text} Correct it in the Plan tab first.`);
      return;
    }
    const key = `${format}\n${plan.text}`;
    if (exported === key) return;
    asked?.abort();
    const question = new AbortController();
    asked = question;
    setText(state, "Writing the files …");
    try {
      const made = await askJson("export", { text: plan.text, format }, question.signal);
      if (asked !== question) return;
      exported = key;
      files = made.files;
      setText(outcome, "");
      setText(state, `${files.length} files`);
      showFiles();
    } catch (error) {
      if (error.name === "AbortError" || asked !== question) return;
      files = [];
      exported = null;
      showFiles();
      zip.disabled = true;
      setText(state, "");
      setText(outcome, error.message);
    }
  }

  zip.addEventListener("click", async () => {
    zip.disabled = true;
    try {
      const response = await ask("export.zip", { text: await plan.settled(), format });
      const name = /filename="([\w.-]+)"/.exec(response.headers.get("Content-Disposition") ?? "")?.[1] ?? "export.zip";
      give(name, await response.blob());
      setText(outcome, "");
    } catch (error) {
      setText(outcome, error.message);
    } finally {
      zip.disabled = plan.answer?.error !== null;
    }
  });

  async function open() {
    try {
      formats = (await askJson("formats")).formats;
    } catch (error) {
      setText(outcome, error.message);
      return;
    }
    format = formats.some(({ name }) => name === kept()) ? kept() : (formats[0]?.name ?? "");
    choices.append(...formats.map(({ name, title: label, about }) => {
      const radio = el("input", { type: "radio", name: "pd-export-format", value: name, checked: name === format });
      radio.addEventListener("change", () => {
        format = name;
        opened = "";
        try {
          localStorage.setItem(KEY, name);
        } catch {
          // Not kept, then.
        }
        load();
      });
      return el("label", { class: "pd-plan-format" }, radio, el("span", {}, el("b", {}, label), el("span", { class: "pd-hint" }, about)));
    }));
    if (formats.length === 0) setText(state, "This panel has no export formats.");
    load();
  }

  plan.on(["answer"], load);
  let width = 0;
  new ResizeObserver(() => {
    // The tab was opened: what changed meanwhile is written now.
    if (island.clientWidth > 0 && width === 0) load();
    width = island.clientWidth;
  }).observe(island);
  setAttribute(island, "aria-label", "Export");
  open();
}
