// What a start would meet, before the button is pressed: the doctor's findings, gravest first, with fixes at a click.

import * as actions from "./actions.js";
import { el, isVisible, setText } from "./dom.js";
import { findingList } from "./plan-paste.js";

const WAIT_MS = 300;
const GROUPS = [["error", "error", "errors"], ["warning", "warning", "warnings"], ["unknown", "thing not known", "things not known"], ["info", "note", "notes"]];

/** The values of the Deploy form as a request; what the form cannot hold yet is left at its default. */
export function formOf([mode, model, prefill, decode, transport, unified]) {
  const count = (value) => (Number.isInteger(value) && value > 0 ? value : 1);
  return { mode, model: String(model ?? ""), prefill: count(prefill), decode: count(decode), transport: String(transport ?? ""), unified: count(unified) };
}

/**
 * Returns {node, ask(values), again()}. `body(values)` is the request that they make, `apply(fix)` changes them, and
 * `blocked(flag)` is told whether a start would surely fail. `known(finding)` tells what is shown elsewhere already, and
 * `fits(fix)` which changes can be made here.
 */
export function deployCheck({ body, apply, blocked = () => {}, known = () => false, fits = () => true, testid = "check" }) {
  const summary = el("p", { class: "pd-hint", role: "status", "data-testid": `${testid}-summary` });
  const groups = el("div", { class: "pd-stack" });
  const node = el("section", { class: "pd-check-start", "aria-label": "Before it starts", "data-testid": testid }, summary, groups);
  let timer = 0;
  let question = null;
  let latest = null;
  let shown = "";

  function fixButton(fix) {
    return el("button", { type: "button", class: "pd-button", "data-testid": "fix", on: { click: () => apply(fix) } }, fix.label);
  }

  function draw(answer) {
    const isBlocked = answer.blocked;
    const findings = answer.findings.filter((finding) => !known(finding));
    const fixes = answer.fixes.filter(fits);
    blocked(isBlocked);
    const key = JSON.stringify([findings, fixes, isBlocked]);
    if (key === shown) return;
    shown = key;
    const grave = findings.filter(({ severity }) => severity !== "info").length;
    setText(summary, isBlocked ? "A start would fail now." : grave > 0 ? "It can start. Look at this first:" : "Nothing stands in the way of a start.");
    groups.replaceChildren(...GROUPS.filter(([severity]) => findings.some((finding) => finding.severity === severity)).map(([severity, one, many]) => {
      const those = findings.filter((finding) => finding.severity === severity);
      const list = findingList(those);
      for (const item of list.children) {
        const mine = fixes.filter((fix) => fix.finding === item.dataset.finding);
        if (mine.length > 0) item.append(el("div", { class: "pd-actions" }, ...mine.map(fixButton)));
      }
      return el("details", { class: "pd-check-group", open: severity === "error" || severity === "warning", data: { severity } },
        el("summary", {}, `${those.length} ${those.length === 1 ? one : many}`), list);
    }));
  }

  async function send() {
    timer = 0;
    question?.abort();
    const asked = new AbortController();
    question = asked;
    try {
      const answer = await actions.checkDeployment(body(latest), asked.signal);
      if (question === asked) draw(answer);
    } catch (error) {
      if (error.name === "AbortError" || question !== asked) return;
      // A field that is not right yet says so; the button says it, too.
      shown = "";
      blocked(false);
      groups.replaceChildren();
      setText(summary, error.message);
    }
  }

  return {
    node,
    ask(values) {
      const key = JSON.stringify(values);
      if (key === JSON.stringify(latest)) return;
      latest = values;
      clearTimeout(timer);
      timer = setTimeout(send, WAIT_MS);
    },
    /** Asks again, since ports and memory are others than they were. */
    again() {
      if (latest === null || timer !== 0 || !isVisible(node)) return;
      timer = setTimeout(send, WAIT_MS);
    },
  };
}
