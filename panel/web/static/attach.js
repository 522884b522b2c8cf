// The Attach form below the Deploy form: watch a deployment that was started elsewhere, by its URLs or its logs.

import { sentence } from "./actions.js";
import { url } from "./base.js";
import { el, setText } from "./dom.js";
import { store } from "./store.js";

async function send(body) {
  let response;
  try {
    response = await fetch(url("/api/attach"), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error("The panel does not answer; is it still running?");
  }
  if (!response.ok) throw new Error(await sentence(response));
  return (await response.json()).run;
}

/** The lines of a text field that say something. */
function lines(field) {
  return field.value.split(/\s*\n\s*/).map((line) => line.trim()).filter(Boolean);
}

function field(label, hint, control) {
  control.setAttribute("aria-describedby", `${control.id}-hint`);
  return el("div", { class: "pd-attach-field" }, el("label", { for: control.id }, label), control, el("p", { id: `${control.id}-hint`, class: "pd-hint" }, hint));
}

function area(id) {
  return el("textarea", { id: `pd-attach-${id}`, rows: 2, spellcheck: "false", autocomplete: "off", "data-testid": `attach-${id}` });
}

function line(id, type = "text") {
  return el("input", { id: `pd-attach-${id}`, type, spellcheck: "false", autocomplete: "off", "data-testid": `attach-${id}` });
}

export function attach(island) {
  const router = line("router");
  const roles = { prefill: area("prefill"), decode: area("decode"), unified: area("unified") };
  const folder = line("folder");
  const files = area("files");
  const key = line("key", "password");
  const button = el("button", { type: "submit", class: "pd-button", "data-testid": "attach-button" }, "Attach");
  const outcome = el("p", { class: "pd-outcome", role: "status", "data-testid": "attach-outcome" });
  const form = el(
    "form",
    { class: "pd-stack", "aria-label": "Attach a running deployment" },
    el("p", { class: "pd-hint" }, "The panel watches it: health, metrics and logs. It never stops or changes anything there."),
    field("Router URL", "Workers that it names are watched too.", router),
    field("Prefill URLs", "One a line, such as http://10.0.0.1:30000.", roles.prefill),
    field("Decode URLs", "One a line.", roles.decode),
    field("Unified URLs", "Workers that do both, one a line.", roles.unified),
    field("Log folder", "On this host, such as one with prefill_NODE0.log and decode_NODE1.log.", folder),
    field("Log files", "Absolute paths, one a line.", files),
    field("API key", "If the servers want one. It is kept for this user alone and never shown.", key),
    el("div", { class: "pd-actions" }, button),
    outcome,
  );
  island.append(el("details", { class: "pd-attach", "data-testid": "attach-form" }, el("summary", {}, "Attach a running deployment"), form));

  function say(tone, text) {
    outcome.dataset.tone = tone;
    setText(outcome, text);
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.getAttribute("aria-busy") === "true") return;
    button.setAttribute("aria-busy", "true");
    say("idle", "Asking the servers what they are …");
    try {
      const workers = Object.entries(roles).flatMap(([role, node]) => lines(node).map((one) => ({ url: one, role })));
      const body = { router: router.value.trim(), workers, api_key: key.value, log_folder: folder.value.trim(), logs: lines(files) };
      const run = await send(body);
      key.value = "";
      say("good", `Watching as run ${run}. Detach ends the watching and nothing else.`);
      store.choose(run);
    } catch (error) {
      say("bad", error.message);
    } finally {
      button.removeAttribute("aria-busy");
    }
  });
}
