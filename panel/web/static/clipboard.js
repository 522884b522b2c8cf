// Text to the clipboard and files to the person's disk, without asking any server.

import { el, setText } from "./dom.js";
import { give } from "./give.js";

const TOLD_MS = 1600;

/** Copies, also where the page is not served securely and the browser offers no clipboard. */
async function copyText(text) {
  if (navigator.clipboard && window.isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = el("textarea", { class: "pd-unseen", readonly: true, "aria-hidden": "true", tabindex: -1 });
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("The browser does not let the page copy.");
}

/** A button that copies what `text()` gives and says so in its own label. */
export function copyButton(label, text, props = {}) {
  const button = el("button", { type: "button", class: "pd-button pd-quiet", ...props }, label);
  let timer = 0;
  button.addEventListener("click", async () => {
    clearTimeout(timer);
    try {
      await copyText(text());
      setText(button, "Copied");
    } catch (error) {
      setText(button, "Not copied");
      button.title = error.message;
    }
    timer = setTimeout(() => setText(button, label), TOLD_MS);
  });
  button.setAttribute("aria-live", "polite");
  return button;
}

/** A button that saves what `text()` gives as the file `name()`. */
export function saveButton(label, kind, name, text, props = {}) {
  const button = el("button", { type: "button", class: "pd-button pd-quiet", ...props }, label);
  button.addEventListener("click", () => give(name(), new Blob([text()], { type: kind })));
  return button;
}
