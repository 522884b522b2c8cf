// The cells that the server describes, as nodes: text, code to copy, signs, and gaps with their reason.

import { copyButton } from "./clipboard.js";
import { el, svg } from "./dom.js";

const NAMES = { good: "good", bad: "bad", warn: "warning", unknown: "unknown", off: "not for KV" };

let shapes = {};

/** Takes the outlines of the signs, which the server draws in its pictures too. */
export function useSigns(signs) {
  shapes = signs;
}

/** The sign of a state: its form tells it apart, not only its colour. */
export function signParts(state) {
  const [outline, inside] = shapes[state] ?? shapes.off;
  return [svg("path", { d: outline, class: "pd-h-sign", "data-state": state }), svg("path", { d: inside, class: "pd-h-tick", "data-state": state })];
}

/** A sign in a line of text; what it says stands beside it. */
export function sign(state) {
  return svg("svg", { viewBox: "-9 -9 18 18", width: 16, height: 16, class: "pd-h-inline", role: "img", "aria-label": NAMES[state] ?? state }, ...signParts(state));
}

/** The nodes of one cell. */
export function cellNodes(value) {
  if (typeof value === "string") return [value];
  if ("live" in value) {
    return [el("span", { class: "pd-live", data: { link: value.live, direction: value.direction, capacity: value.capacity ?? "" } }, "–")];
  }
  if ("code" in value) {
    return [el("span", { class: "pd-hw-code" }, el("code", {}, value.code), copyButton("Copy", () => value.code, { "aria-label": `Copy ${value.code}` }))];
  }
  if ("reason" in value) {
    return [el("span", { class: "pd-gap", title: value.reason }, value.text), el("span", { class: "pd-unseen" }, ` unknown: ${value.reason}`)];
  }
  const text = el(value.strong ? "b" : "span", { title: value.hint }, value.text);
  return value.sign ? [el("span", { class: "pd-hw-signed" }, sign(value.sign), text)] : [text];
}

/** The same as plain text, for what is only read aloud. */
export function cellText(value) {
  if (typeof value === "string") return value;
  if ("live" in value) return null;
  if ("code" in value) return value.code;
  return "reason" in value ? `unknown: ${value.reason}` : value.text;
}
