// What can be done to a whole run, as buttons: those that its state allows, with a question where work would be lost.

import * as actions from "./actions.js";
import { bugReport } from "./bug-report.js";
import { confirm } from "./dialog.js";
import { el, openTab, setAttribute } from "./dom.js";
import { shortModel } from "./format.js";
import { plan } from "./plan-store.js";
import { store } from "./store.js";
import { toast } from "./toast.js";

const WORKS = new Set(["ready", "degraded"]);

/** The deployment with the first number behind its name that no run has: two runs of one name are hard to tell apart. */
export function underNewName(text, taken = new Set([...store.runs.values()].map((run) => run.name))) {
  return text.replace(/^name: ([a-z0-9-]+)$/m, (line, name) => {
    const base = name.replace(/-\d{1,4}$/, "");
    let number = 2;
    while (taken.has(`${base}-${number}`)) number += 1;
    return `name: ${base.slice(0, 39 - String(number).length)}-${number}`;
  });
}

/** Opens the deployment of a run in the Plan tab, where it can be changed and started. */
export async function cloneRun(id, name) {
  try {
    const text = await actions.deploymentOf(id);
    plan.begin({ kind: "run", name: `the deployment of ${name}`, text: underNewName(text) });
    openTab("plan");
    toast(`The deployment of ${name} is open in Plan. Nothing has been started.`, { tone: "good" });
  } catch (error) {
    toast(error.message, { tone: "bad" });
  }
}

/** Starts an ended run again from its own directory, and shows it. */
export async function resumeRun(id, name) {
  try {
    store.choose(await actions.actOnRun(id, "resume"));
    toast(`${name} starts again.`, { tone: "good" });
  } catch (error) {
    toast(error.message, { tone: "bad" });
  }
}

const ACTIONS = [
  {
    name: "adopt", label: "Adopt", style: "pd-primary", doing: "A new runner takes over the processes …",
    allowed: (run) => run.state === "unsupervised", run: (run) => actions.actOnRun(run.id, "adopt"),
  },
  {
    name: "resume", label: "Resume", doing: "Starting it again …",
    allowed: (run) => !run.can_stop && !run.attached, run: async (run) => store.choose(await actions.actOnRun(run.id, "resume")),
  },
  {
    name: "clone", label: "Clone", hint: "Opens its deployment in the Plan tab",
    allowed: (run) => !run.attached, run: (run) => cloneRun(run.id, shortModel(run.model)),
  },
  {
    name: "report", label: "Bug report", hint: "Gathers plan, findings, samples and logs without secrets, and lists them first", doing: "Gathering what a report would hold …",
    allowed: () => true, run: (run, tell) => bugReport(run, () => tell("", "idle")),
  },
  {
    name: "restart", label: "Restart run", doing: "Restarting all processes …",
    allowed: (run) => run.can_stop && !run.attached && run.state !== "unsupervised" && run.state !== "stopping",
    question: (run) => ({
      title: "Restart this run?", action: "Restart run",
      text: `All ${run.processes.length} processes end and start again. Requests that are running fail, and the prefix cache is lost.`,
    }),
    run: async (run) => store.choose(await actions.actOnRun(run.id, "restart")),
  },
  {
    name: "detach", label: "Detach", doing: "Ending the watch …",
    allowed: (run) => run.attached && run.can_stop, run: (run) => actions.actOnRun(run.id, "detach"),
  },
  {
    name: "stop", label: "Stop all", style: "pd-danger", testid: "stop-all", doing: "Stopping all processes …",
    allowed: (run) => run.can_stop && !run.attached,
    question: (run) => WORKS.has(run.state) && {
      title: "Stop this run?", action: "Stop all",
      text: `All ${run.processes.length} processes end. Requests that are running fail. Logs and samples stay.`,
    },
    run: (run) => actions.stopRun(run.id),
  },
];

/** Returns {node, update(run)}; `tell(text, tone)` shows what goes on and what failed. */
export function runActions(first, tell) {
  let run = first;
  const buttons = ACTIONS.map((action) => {
    const button = el("button", { type: "button", class: `pd-button ${action.style ?? ""}`, title: action.hint, "data-testid": action.testid ?? `${action.name}-run` }, action.label);
    button.addEventListener("click", async () => {
      const question = action.question?.(run);
      if (question && !(await confirm(question))) return;
      button.disabled = true;
      if (action.doing) tell(action.doing, "idle");
      try {
        await action.run(run, tell);
        tell("", "idle");
      } catch (error) {
        tell(error.message, "bad");
      } finally {
        button.disabled = false;
      }
    });
    return { action, button };
  });
  return {
    node: el("div", { class: "pd-actions", role: "group", "aria-label": "Actions on the run" }, ...buttons.map(({ button }) => button)),
    update(now) {
      run = now;
      for (const { action, button } of buttons) setAttribute(button, "hidden", !action.allowed(run));
    },
  };
}
