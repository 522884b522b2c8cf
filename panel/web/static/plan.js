// The Plan tab: what a person wants on the left, its file beside it, and what comes of it on the right, at every keystroke.

import { el, openTab, setAttribute, setText } from "./dom.js";
import { planCheck } from "./plan-check.js";
import { planForm } from "./plan-form.js";
import { findingList } from "./plan-paste.js";
import { planPicture } from "./plan-picture.js";
import { planPreview } from "./plan-preview.js";
import { planRun } from "./plan-run.js";
import { planStart } from "./plan-start.js";
import { plan } from "./plan-store.js";
import { planYaml } from "./plan-yaml.js";
import { store } from "./store.js";

export function planTab(island) {
  const start = planStart();
  const form = planForm();
  const yaml = planYaml();
  const picture = planPicture();
  const preview = planPreview();
  const run = planRun(start.tell);
  const trouble = el("p", { class: "pd-outcome", role: "alert", "data-tone": "bad" });
  const errorText = el("span");
  const show = el("button", { type: "button", class: "pd-button" }, "Show the field");
  const error = el("p", { class: "pd-notice", role: "status", "data-tone": "bad", hidden: true, "data-testid": "plan-error" }, errorText, show);
  const title = el("h3", { "data-testid": "plan-title" });
  const facts = el("p", { class: "pd-facts" });
  const findings = el("details", { class: "pd-plan-found", hidden: true });
  const findingsTitle = el("summary");
  const toExport = el("button", { type: "button", class: "pd-button", on: { click: () => openTab("export") } }, "Export …");
  const outcome = el("section", { class: "pd-card pd-plan-outcome" },
    el("div", { class: "pd-cardhead" }, el("div", {}, title, facts), el("div", { class: "pd-actions" }, toExport, run.button)),
    planCheck(), error, picture.node, findings);
  const all = el("div", { class: "pd-stack" }, start.node,
    el("div", { class: "pd-plan-main" },
      el("section", { class: "pd-card pd-plan-formcard", "aria-label": "Form" }, form.node),
      el("div", { class: "pd-plan-right" }, outcome, el("div", { class: "pd-plan-beside" }, yaml.node, preview.node))),
    run.dialog);
  // Nothing can be typed before there is something to type into.
  all.inert = true;
  island.append(el("div", { class: "pd-stack" }, trouble, all));

  let found = "";

  function update() {
    const { answer, good } = plan;
    if (!answer) return;
    const wrong = answer.error;
    error.hidden = wrong === null || answer.values === null;
    setText(errorText, wrong ? `${wrong.text} Below is the last plan without errors.` : "");
    show.hidden = !wrong?.field || !form.has(wrong.field);
    toExport.disabled = wrong !== null;
    if (good) {
      setText(title, good.name);
      const nodes = good.nodes.length;
      const processes = good.nodes.reduce((sum, node) => sum + node.entries.filter(({ kind }) => kind === "command").length, 0);
      setText(facts, [good.model, `${processes} processes`, `${nodes} host${nodes === 1 ? "" : "s"}`, good.router_url ? `clients ask ${good.router_url}` : ""].filter(Boolean).join("  ·  "));
      picture.update(good, wrong !== null);
    }
    const list = answer.findings ?? [];
    findings.hidden = list.length === 0;
    const key = JSON.stringify(list);
    if (key !== found) {
      found = key;
      const grave = list.filter(({ severity }) => severity === "error" || severity === "warning").length;
      setText(findingsTitle, `${list.length} finding${list.length === 1 ? "" : "s"}`);
      findings.open = grave > 0;
      findings.replaceChildren(findingsTitle, findingList(list));
    }
    setAttribute(island, "data-planned", answer.error === null ? answer.text.length : null);
    preview.update();
  }

  show.addEventListener("click", () => form.show(plan.answer.error.field));
  plan.on(["answer"], update);
  plan.on(["form"], () => {
    all.inert = false;
  });
  plan.on(["trouble"], () => setText(trouble, plan.trouble));
  store.on(["live"], () => {
    // What could not be asked is asked once the panel is back.
    if (store.live.state !== "live" || !plan.trouble) return;
    if (plan.form) plan.type(plan.text);
    else plan.open();
  });
  plan.open();
}
