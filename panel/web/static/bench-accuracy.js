// Accuracy beside speed: GSM8K from a file of the person's, asked and judged by lm-eval in a process of its own.

import { loads } from "./bench-api.js";
import { field, numeric, targetFields, text } from "./bench-form.js";
import { copyButton } from "./clipboard.js";
import { el, setText } from "./dom.js";

/** The form; `start(body)` is called with what the panel takes. */
export function benchAccuracy(start) {
  const target = targetFields("accuracy");
  const questions = field("questions", "File of questions", text("", { placeholder: "/path/gsm8k.jsonl", "data-testid": "accuracy-questions" }),
    'On the panel\'s host: lines such as {"question": "…", "answer": "… #### 42"}.');
  const limit = field("limit", "Questions at most", numeric("", { min: 1, step: 1 }), "Empty: all");
  const shots = field("shots", "Worked examples", numeric(5, { min: 0, max: 5, step: 1 }), "In front of each question");
  const most = field("max_tokens", "Answer tokens at most", numeric(256, { min: 1, step: 1 }));
  const chat = el("input", { type: "checkbox", id: "accuracy-chat" });
  const error = el("p", { class: "pd-outcome", role: "alert", data: { tone: "bad" }, "data-testid": "accuracy-error" });
  const button = el("button", { type: "submit", class: "pd-button pd-primary", "data-testid": "accuracy-start" }, "Measure");
  const command = el("code", { class: "pd-bcode" });
  const missing = el("div", { class: "pd-notice", hidden: true, "data-testid": "accuracy-missing" },
    el("span", {}, "lm-eval, which asks and judges, is not installed beside the panel. Install it and reload:"), command, copyButton("Copy", () => command.textContent));
  const node = el("details", { class: "pd-card", "data-testid": "accuracy" },
    el("summary", {}, el("h3", { class: "pd-bsummary" }, "Accuracy: GSM8K")),
    el("p", { class: "pd-hint" }, "Speed says nothing when the answers are wrong: ask the same questions of two deployments, and compare the share of exact answers with its standard error."),
    missing,
    el("form", { class: "pd-bform pd-stack", novalidate: true, "aria-label": "Accuracy" }, ...target.nodes, questions.node,
      el("div", { class: "pd-bgrid" }, limit.node, shots.node, most.node),
      el("label", { for: "accuracy-chat", class: "pd-check" }, chat, el("span", {}, "Chat template")), el("div", { class: "pd-actions" }, button), error));
  let asked = false;
  node.addEventListener("toggle", async () => {
    if (!node.open || asked) return;
    asked = true;
    try {
      const { accuracy, install } = await loads.abilities();
      missing.hidden = accuracy;
      setText(command, install);
    } catch {
      asked = false;
    }
  });
  node.addEventListener("submit", async (event) => {
    event.preventDefault();
    const problem = target.missing() || (questions.read() ? "" : "Name the file of the questions.");
    setText(error, problem);
    if (problem) return;
    button.disabled = true;
    const values = [questions, limit, shots, most].map((one) => [one.name, one.read()]).filter(([, value]) => value !== null && value !== "");
    try {
      await start({ ...target.read(), ...Object.fromEntries(values), chat: chat.checked });
    } catch (failure) {
      setText(error, failure.message);
    } finally {
      button.disabled = false;
    }
  });
  return { node };
}
