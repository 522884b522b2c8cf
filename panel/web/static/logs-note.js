// What the doctor says about an explained line: opened by its mark, closed by its button or Escape.

import { el, setAttribute, setText } from "./dom.js";

export class LogNote {
  constructor(onClose) {
    this.title = el("h3", { class: "pd-label" });
    this.reason = el("p", {});
    this.remedy = el("p", {});
    const close = el("button", { type: "button", class: "pd-button pd-quiet" }, "Close");
    this.node = el(
      "section",
      { class: "pd-lognote", hidden: true, role: "status", "aria-label": "What this line means", "data-testid": "log-note" },
      el("div", { class: "pd-cardhead" }, this.title, close),
      this.reason,
      this.remedy,
    );
    close.addEventListener("click", () => this.close(onClose));
    this.node.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close(onClose);
    });
  }

  show(finding) {
    setAttribute(this.node, "data-severity", finding.severity);
    setText(this.title, `${finding.subject}: ${finding.id}`);
    setText(this.reason, finding.reason);
    setText(this.remedy, finding.remedy ? `What to do: ${finding.remedy}` : "");
    this.node.hidden = false;
  }

  close(then = () => {}) {
    if (this.node.hidden) return;
    this.node.hidden = true;
    then();
  }
}
