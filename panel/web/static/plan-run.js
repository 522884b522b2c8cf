// From the plan to processes on this host: everything that would run is shown before it does.

import { el, openTab, setText } from "./dom.js";
import { proseNodes } from "./plan-form.js";
import { askJson, plan } from "./plan-store.js";
import { store } from "./store.js";

export function planRun(tell) {
  const button = el("button", { type: "button", class: "pd-button pd-primary", "data-testid": "plan-deploy" }, "Deploy this …");
  const list = el("div", { class: "pd-plan-offer", tabindex: "0", role: "group", "aria-label": "Commands and variables" });
  const problem = el("p", { class: "pd-outcome", role: "alert", "data-tone": "bad" });
  const words = el("p", { class: "pd-hint" });
  const start = el("button", { type: "button", class: "pd-button pd-primary", "data-testid": "plan-start" }, "Start");
  const cancel = el("button", { type: "button", class: "pd-button", on: { click: () => dialog.close() } }, "Cancel");
  const title = el("h3", { id: "pd-plan-offer-title" });
  const dialog = el("dialog", { class: "pd-plan-dialog", "aria-labelledby": "pd-plan-offer-title", "data-testid": "plan-offer" },
    title, words, problem, list, el("div", { class: "pd-actions" }, start, cancel));
  let offered = null;

  function process({ name, argv, env, cwd }) {
    const variables = Object.entries(env);
    return el("section", { class: "pd-plan-entry" }, el("b", { class: "pd-name" }, name),
      el("dl", { class: "pd-plan-argv" },
        el("dt", {}, "Command"), el("dd", {}, el("ol", {}, ...argv.map((argument) => el("li", {}, el("code", {}, argument || "(empty)"))))),
        cwd ? el("dt", {}, "Folder") : null,
        cwd ? el("dd", {}, el("code", {}, cwd)) : null,
        variables.length > 0 ? el("dt", {}, "Variables") : null,
        variables.length > 0 ? el("dd", {}, el("ul", {}, ...variables.map(([key, value]) => el("li", {}, el("code", {}, `${key}=${value}`))))) : null));
  }

  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const text = await plan.settled();
      const offer = await askJson("offer", { text });
      offered = { text, consent: offer.consent };
      const count = offer.processes.length;
      setText(title, `Start ${count} process${count === 1 ? "" : "es"} on this host?`);
      setText(words, offer.needs_consent ? "This deployment decides which programs run and with what. Look at every argument and variable." : "These are the commands, argument by argument.");
      problem.replaceChildren(...(offer.problem ? proseNodes(offer.problem) : []));
      start.disabled = offer.problem !== "";
      list.replaceChildren(...offer.processes.map(process));
      dialog.showModal();
      tell("", "idle");
    } catch (error) {
      tell(error.message, "bad");
    } finally {
      button.disabled = plan.answer?.error !== null;
    }
  });
  start.addEventListener("click", async () => {
    start.disabled = true;
    try {
      const { run } = await askJson("start", offered);
      dialog.close();
      store.choose(run);
      openTab("deploy");
    } catch (error) {
      setText(problem, error.message);
      start.disabled = false;
    }
  });
  // The button was disabled while the panel was asked, so the browser does not bring the focus back by itself.
  dialog.addEventListener("close", () => button.focus());
  plan.on(["answer"], () => {
    button.disabled = plan.answer.error !== null;
  });
  return { button, dialog };
}
