// What happens after the Deploy form was sent: the outcome below the button, in one sentence.

import * as actions from "./actions.js";
import { el, setText } from "./dom.js";
import { store } from "./store.js";

const button = () => document.getElementById("deploy-button");

async function send(mode, model, prefill, decode, transport, outcome) {
  const node = button();
  if (node.getAttribute("aria-busy") === "true") return;
  node.setAttribute("aria-busy", "true");
  outcome.dataset.tone = "idle";
  setText(outcome, "Starting the processes …");
  try {
    const run = await actions.deploy({ mode, model: String(model ?? ""), prefill, decode, transport });
    outcome.dataset.tone = "good";
    setText(outcome, `Started run ${run}. Its processes become ready on their own.`);
    store.choose(run);
  } catch (error) {
    outcome.dataset.tone = "bad";
    setText(outcome, error.message);
  } finally {
    node.removeAttribute("aria-busy");
  }
}

/** A unified run has one worker that does both halves, so counts and transport mean nothing to it. */
function followMode(mode) {
  document.getElementById("pd-form")?.classList.toggle("pd-unified", mode === "unified");
}

export function deploy(island) {
  const outcome = el("p", { class: "pd-outcome", role: "status", "data-testid": "deploy-outcome" });
  island.append(outcome);
  window.pdpanel.deploy = (mode, model, prefill, decode, transport) =>
    send(mode, model, prefill, decode, transport, outcome);
  window.pdpanel.followMode = followMode;
}
