// What all logs of a run say together: each explained, and prefill and decode compared with each other.

import { sentence } from "./actions.js";
import { url } from "./base.js";
import { el } from "./dom.js";

const SHOWN_EVIDENCE = 3;

function item(finding) {
  const seen = finding.evidence.slice(0, SHOWN_EVIDENCE).map((one) => el("li", {}, `${one.source}: ${one.value}`));
  return el(
    "li",
    { class: "pd-lognote", data: { severity: finding.severity } },
    el("h4", { class: "pd-label" }, `${finding.severity}: ${finding.subject}: ${finding.id}`),
    el("p", {}, finding.reason),
    seen.length > 0 ? el("ul", { class: "pd-hint" }, seen) : null,
    finding.remedy ? el("p", {}, `What to do: ${finding.remedy}`) : null,
  );
}

export class LogReport {
  constructor() {
    this.run = null;
    this.node = el("section", { class: "pd-stack", hidden: true, role: "status", "aria-label": "What all logs say", "data-testid": "log-report" });
  }

  async ask(run, say) {
    this.run = run;
    this.show("Reading the logs …", [], []);
    say("");
    try {
      const response = await fetch(url(`/api/runs/${encodeURIComponent(run)}/explained`), { cache: "no-store" });
      if (!response.ok) throw new Error(await sentence(response));
      const { findings, notes } = await response.json();
      if (this.run !== run) return;
      const count = findings.length === 1 ? "1 finding" : `${findings.length} findings`;
      this.show(findings.length > 0 ? `${count} in the logs of this run` : "Nothing in the logs of this run is known to be wrong", findings, notes);
    } catch (error) {
      this.close();
      say(error.message);
    }
  }

  show(title, findings, notes) {
    const close = el("button", { type: "button", class: "pd-button pd-quiet", on: { click: () => this.close() } }, "Close");
    this.node.replaceChildren(
      el("div", { class: "pd-cardhead" }, el("h3", { class: "pd-label" }, title), close),
      ...notes.map((note) => el("p", { class: "pd-hint" }, note)),
      el("ul", { class: "pd-logreport" }, findings.map(item)),
    );
    this.node.hidden = false;
  }

  close() {
    this.run = null;
    this.node.hidden = true;
  }
}
