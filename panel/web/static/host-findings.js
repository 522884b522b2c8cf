// The findings beside the picture: the gravest first, each with its reason, its remedy, and its evidence on demand.

import { copyButton } from "./clipboard.js";
import { el } from "./dom.js";
import { sign } from "./host-cells.js";

const GROUPS = [
  ["error", "bad", "errors", "error"],
  ["warning", "warn", "warnings", "warning"],
  ["unknown", "unknown", "not known", "not known"],
  ["info", "off", "for information", "for information"],
];

/** A remedy's text with its `commands` as code. */
function remedyNodes(text) {
  return text.split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));
}

/** What a person wants to paste: the commands of a remedy, or all of it when it names none. */
function remedyCommand(text) {
  const commands = text.split("`").filter((_, index) => index % 2);
  return commands.length > 0 ? commands.join("\n") : text;
}

function findingItem(finding, show) {
  const { evidence, remedy, corrected } = finding;
  return el(
    "li",
    { class: "pd-hw-finding", data: { severity: finding.severity, finding: finding.id } },
    el("div", { class: "pd-hw-findinghead" }, el("b", {}, finding.subject), ...show(finding.subject), el("code", { class: "pd-hw-id" }, finding.id)),
    el("p", {}, finding.reason),
    remedy
      ? el("div", { class: "pd-hw-remedy" }, el("p", {}, ...remedyNodes(remedy)),
          copyButton(remedy.includes("`") ? "Copy command" : "Copy", () => remedyCommand(remedy), { "aria-label": `Copy the remedy for ${finding.subject}` }))
      : null,
    corrected
      ? el("div", { class: "pd-hw-remedy" }, el("p", {}, "Right: ", el("code", {}, corrected)), copyButton("Copy", () => corrected, { "aria-label": `Copy ${corrected}` }))
      : null,
    evidence.length > 0
      ? el("details", { class: "pd-hw-evidence" }, el("summary", {}, `Evidence (${evidence.length})`),
          el("dl", {}, ...evidence.flatMap(({ source, value }) => [el("dt", {}, source), el("dd", {}, value)])))
      : null,
  );
}

/** The card; `show(subject)` gives the buttons that show its devices in the picture. */
export function findingsCard(findings, notes, show) {
  const groups = GROUPS.map(([severity, state, many, one]) => {
    const found = findings.filter((finding) => finding.severity === severity);
    if (found.length === 0) return null;
    const grave = severity === "error" || severity === "warning";
    const head = el("span", { class: "pd-hw-signed" }, sign(state), el("span", {}, `${found.length} ${found.length === 1 ? one : many}`));
    return el("details", { class: "pd-hw-group", open: grave || findings.length < 6, data: { severity } },
      el("summary", {}, head), el("ul", { class: "pd-hw-findings" }, ...found.map((finding) => findingItem(finding, show))));
  });
  const has = (wanted) => findings.some(({ severity }) => severity === wanted);
  const calm = has("error") || has("warning")
    ? null
    : el("p", { class: "pd-hw-signed" }, sign(has("unknown") ? "unknown" : "good"),
        has("unknown") ? "No error and no warning, as far as is known." : "Nothing here speaks against serving on this host.");
  return el(
    "section",
    { class: "pd-card pd-hw-beside", "data-testid": "findings" },
    el("h3", {}, "Findings for PD serving"),
    calm,
    ...groups,
    notes.length > 0
      ? el("details", { class: "pd-hw-group", open: findings.length === 0 }, el("summary", {}, `Notes of the probe (${notes.length})`),
          el("ul", { class: "pd-hw-notes" }, ...notes.map((note) => el("li", {}, note))))
      : null,
  );
}
