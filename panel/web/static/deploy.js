// The Deploy form: the check before its button, and the outcome below it in one sentence.

import * as actions from "./actions.js";
import { deployCheck, formOf } from "./deploy-check.js";
import { el, setText } from "./dom.js";
import { store } from "./store.js";
import { toast } from "./toast.js";

const FIELDS = { "prefill.count": 2, "decode.count": 3, transport: 4, "unified.count": 5 };

const button = () => document.getElementById("deploy-button");

async function send([mode, model, prefill, decode, transport, unified], outcome) {
  const node = button();
  if (node.getAttribute("aria-busy") === "true") return;
  node.setAttribute("aria-busy", "true");
  outcome.dataset.tone = "idle";
  setText(outcome, "Starting the processes …");
  try {
    const run = await actions.deploy({ mode, model: String(model ?? ""), prefill, decode, transport, unified });
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

/** A unified worker does both halves, so the counts of the two and the transport mean nothing to it. */
function followMode(mode) {
  document.getElementById("pd-form")?.classList.toggle("pd-unified", mode === "unified");
}

function setBlocked(isBlocked) {
  const node = button();
  if (node && node.disabled !== isBlocked) node.disabled = isBlocked;
}

export function deploy(island) {
  const outcome = el("p", { class: "pd-outcome", role: "status", "data-testid": "deploy-outcome" });
  island.append(outcome);
  window.pdpanel.deploy = (...values) => send(values, outcome);
}

/** The check stands above the button; Gradio tells it every change of the form and takes back what a fix changes. */
export function check(island) {
  let wanted = null;
  const form = deployCheck({
    body: (values) => ({ form: formOf(values) }),
    apply(fix) {
      wanted = fix;
      document.getElementById("pd-apply-fix")?.click();
    },
    blocked: setBlocked,
    // The form has no other fields.
    fits: ({ path }) => path in FIELDS,
  });
  island.append(form.node);
  window.pdpanel.formChanged = (...values) => {
    followMode(values[0]);
    form.ask(values);
  };
  /** Returns the form's values with the fix that was chosen. */
  window.pdpanel.applyFix = (...values) => {
    const place = wanted === null ? undefined : FIELDS[wanted.path];
    if (place !== undefined) {
      values[place] = wanted.value;
      toast(`${wanted.label}: done.`, { tone: "good" });
    }
    wanted = null;
    form.ask(values);
    return values;
  };
  form.ask(JSON.parse(island.dataset.values));
  let runs = "";
  store.on(["runs"], () => {
    // A run that came or went took or freed ports and memory.
    const now = store.list().map((run) => `${run.id} ${run.can_stop}`).join();
    if (runs !== now) form.again();
    runs = now;
  });
}
