// The YAML beside the form: the truth of the deployment, to be edited, copied and saved.

import { copyButton, saveButton } from "./clipboard.js";
import { el, setAttribute, setText } from "./dom.js";
import { plan } from "./plan-store.js";

const LINES = { least: 14, most: 34 };

export function planYaml() {
  const area = el("textarea", { class: "pd-plan-yaml", spellcheck: "false", autocomplete: "off", autocapitalize: "off", wrap: "off", "aria-label": "Deployment as YAML", "data-testid": "plan-yaml" });
  const problem = el("p", { class: "pd-outcome", role: "status", "data-tone": "bad", "data-testid": "plan-yaml-problem" });
  const undo = el("button", { type: "button", class: "pd-button pd-quiet", on: { click: () => plan.undo() } }, "Undo");
  const node = el("section", { class: "pd-card pd-plan-file" },
    el("div", { class: "pd-cardhead" }, el("h3", {}, "Deployment file"),
      el("div", { class: "pd-actions" }, undo,
        copyButton("Copy", () => area.value, { "aria-label": "Copy the YAML" }),
        saveButton("Save", "application/yaml", () => `${plan.good?.name ?? "deployment"}.yaml`, () => area.value, { "aria-label": "Save the YAML" }))),
    area, problem);

  function fit() {
    area.rows = Math.min(LINES.most, Math.max(LINES.least, area.value.split("\n").length + 1));
  }

  area.addEventListener("input", () => {
    plan.type(area.value);
    fit();
  });
  // Tab leaves the box, as everywhere else on the page; Enter keeps the indent of its line.
  area.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    const indent = /(?:^|\n)([ ]+)[^\n]*$/.exec(area.value.slice(0, area.selectionStart))?.[1];
    if (!indent) return;
    event.preventDefault();
    area.setRangeText(`\n${indent}`, area.selectionStart, area.selectionEnd, "end");
    area.dispatchEvent(new Event("input"));
  });

  function update() {
    if (area.value !== plan.text) {
      // The caret stays where it is when the form changed another line.
      const [from, to] = [area.selectionStart, area.selectionEnd];
      area.value = plan.text;
      if (document.activeElement === area) area.setSelectionRange(from, to);
    }
    fit();
    undo.disabled = !plan.canUndo;
    const unreadable = plan.answer !== null && plan.answer.values === null;
    setText(problem, unreadable ? `${plan.answer.error.text} The form keeps what it had until then.` : "");
    setAttribute(area, "aria-invalid", unreadable ? "true" : null);
  }

  plan.on(["answer", "start"], update);
  return { node };
}
