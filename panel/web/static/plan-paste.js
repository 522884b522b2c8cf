// A command or config from elsewhere: what is wrong with it, how it would be right, and a deployment of it.

import { copyButton } from "./clipboard.js";
import { el, setText } from "./dom.js";
import { proseNodes } from "./plan-form.js";
import { askJson, plan } from "./plan-store.js";

const WAIT_MS = 250;
const MOST = 1 << 20;
const KINDS = { shell: "a command or script", slurm: "a Slurm script", "mooncake-config": "a Mooncake config", "ib-device-map": "a map of NICs", "kv-transfer-config": "a KV transfer config",
  compose: "a compose file", kubernetes: "a Kubernetes manifest", deployment: "a deployment", json: "JSON that cannot be read", unknown: "nothing that is known here" };
const TITLES = { error: "Error", warning: "Warning", info: "Note", unknown: "Not known" };
const ORDER = ["error", "warning", "unknown", "info"];

/** Findings as a list, the gravest first. */
export function findingList(findings) {
  const sorted = [...findings].sort((one, other) => ORDER.indexOf(one.severity) - ORDER.indexOf(other.severity));
  return el("ul", { class: "pd-plan-findings", "data-testid": "plan-findings" }, ...sorted.map((finding) =>
    el("li", { class: "pd-hw-finding", data: { severity: finding.severity, finding: finding.id } },
      el("div", { class: "pd-hw-findinghead" }, el("b", {}, `${TITLES[finding.severity] ?? finding.severity}: ${finding.subject}`), el("code", { class: "pd-hw-id" }, finding.id)),
      el("p", {}, finding.reason),
      finding.remedy ? el("p", { class: "pd-hint" }, ...proseNodes(finding.remedy)) : null,
      finding.corrected ? el("p", {}, "Right: ", el("code", {}, finding.corrected)) : null,
      finding.evidence.length > 0
        ? el("details", { class: "pd-hw-evidence" }, el("summary", {}, `Evidence (${finding.evidence.length})`),
            el("dl", {}, ...finding.evidence.flatMap(({ source, value }) => [el("dt", {}, source), el("dd", {}, value)])))
        : null)));
}

export function planPaste(close, tell) {
  const area = el("textarea", { rows: 8, spellcheck: "false", wrap: "off", class: "pd-plan-pasted", placeholder: "python3 -m sglang.launch_server …", "aria-label": "A command, script or config", "data-testid": "plan-pasted" });
  const version = el("input", { type: "text", size: 10, placeholder: "today's", "aria-label": "Engine version it is for", "data-testid": "plan-pasted-version" });
  const what = el("p", { class: "pd-hint", role: "status", "data-testid": "plan-pasted-kind" });
  const found = el("div", {});
  const right = el("div", { class: "pd-stack", "data-testid": "plan-corrected", hidden: true });
  const make = el("button", { type: "button", class: "pd-button pd-primary", disabled: true }, "Make a deployment of it");
  const node = el("div", { class: "pd-stack pd-plan-paste" }, area,
    el("div", { class: "pd-toolbar" }, el("label", { class: "pd-inline" }, el("span", { class: "pd-hint" }, "For version"), version), make, what), found, right);
  let name = "the pasted text";
  let timer = 0;
  let asked = null;
  let kind = "";

  async function check() {
    timer = 0;
    asked?.abort();
    const question = new AbortController();
    asked = question;
    const text = area.value;
    make.disabled = text.trim() === "";
    if (make.disabled) {
      setText(what, "");
      found.replaceChildren();
      right.hidden = true;
      return;
    }
    if (text.length > MOST) {
      setText(what, "It has more than 1 MiB; use pdpanel lint for it.");
      return;
    }
    try {
      const report = await askJson("lint", { text, name, engine_version: version.value.trim() }, question.signal);
      if (asked !== question) return;
      kind = report.kind;
      const grave = report.findings.filter(({ severity }) => severity === "error" || severity === "warning").length;
      setText(what, `This is ${KINDS[report.kind] ?? report.kind}: ${grave === 0 ? "nothing wrong found" : `${grave} thing${grave === 1 ? "" : "s"} to look at`}.`);
      found.replaceChildren(findingList(report.findings));
      right.hidden = report.corrected === null;
      if (report.corrected !== null) {
        const take = el("button", { type: "button", class: "pd-button pd-quiet", on: { click: () => put(report.corrected) } }, "Take it");
        right.replaceChildren(
          el("div", { class: "pd-cardhead" }, el("b", {}, "Corrected"), el("div", { class: "pd-actions" }, take, copyButton("Copy", () => report.corrected, { "aria-label": "Copy the corrected text" }))),
          el("pre", { class: "pd-plan-code", tabindex: "0", role: "group", "aria-label": "Corrected text" }, report.corrected));
      }
    } catch (error) {
      if (error.name !== "AbortError" && asked === question) setText(what, error.message);
    }
  }

  function put(text) {
    area.value = text;
    check();
  }

  area.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(check, WAIT_MS);
  });
  version.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(check, WAIT_MS);
  });
  make.addEventListener("click", async () => {
    try {
      const text = area.value;
      // A deployment is taken as it stands, with its comments, also while a field of it is wrong.
      const made = kind === "deployment" ? { text, findings: [] } : await askJson("import", { text, name, engine_version: version.value.trim() });
      found.replaceChildren(findingList(made.findings));
      if (made.text === null) {
        tell("No deployment can be made of this; the findings say why.", "bad");
        return;
      }
      plan.begin({ kind: "paste", name, text: made.text, remarks: made.findings });
      tell("", "idle");
      close();
    } catch (error) {
      tell(error.message, "bad");
    }
  });
  return {
    node,
    open() {
      area.focus();
    },
    async take(text, from) {
      name = from;
      area.value = text;
      await check();
      if (kind === "deployment") make.click();
    },
  };
}
