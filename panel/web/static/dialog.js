// Questions and texts that want an answer before the page goes on: the browser's own modal dialog, focus and Escape included.

import { el } from "./dom.js";

let number = 0;

/**
 * Shows a dialog and returns a promise of the value of the button that closed it, or null for Escape and the backdrop.
 * `actions` are {label, value, tone}, the first one has the focus; `body` is text or nodes.
 */
export function ask({ title, body, actions, testid = "dialog" }) {
  number += 1;
  const name = `pd-dialog-${number}`;
  const buttons = actions.map(({ label, value, tone }) =>
    el("button", { type: "button", class: `pd-button ${tone ? `pd-${tone}` : ""}`, data: { value }, on: { click: () => node.close(value) } }, label),
  );
  const content = typeof body === "string" ? el("p", {}, body) : el("div", { class: "pd-dialog-body" }, ...[body].flat());
  const node = el("dialog", { class: "pd-dialog", "aria-labelledby": name, "data-testid": testid },
    el("div", { class: "pd-island" }, el("h2", { id: name }, title), content, el("div", { class: "pd-actions pd-dialog-actions" }, ...buttons)));
  (document.querySelector(".gradio-container") ?? document.body).append(node);
  const back = document.activeElement;
  return new Promise((resolve) => {
    node.addEventListener("click", (event) => {
      // The dialog's own box is what lies on its padding; a click outside of it hits the dialog itself, too.
      const box = node.getBoundingClientRect();
      const inside = event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
      if (event.target === node && !inside && event.detail > 0) node.close("");
    });
    node.addEventListener("close", () => {
      node.remove();
      // What opened it may have been redrawn meanwhile.
      if (back?.isConnected && back !== document.body) back.focus({ preventScroll: true });
      resolve(node.returnValue || null);
    });
    node.showModal();
    buttons[0]?.focus();
  });
}

/** Asks before something is lost; true when the person says so. */
export async function confirm({ title, text, action, testid = "confirm" }) {
  const answer = await ask({
    title,
    body: text,
    testid,
    actions: [{ label: "Cancel", value: "" }, { label: action, value: "yes", tone: "danger" }],
  });
  return answer === "yes";
}
