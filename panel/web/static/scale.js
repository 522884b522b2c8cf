// More or fewer workers of a run that serves: a row of numbers with + and -, and what would change before anything does.

import { previewScale, scaleRun } from "./actions.js";
import { ask } from "./dialog.js";
import { el, keyed, setAttribute, setText } from "./dom.js";
import { findingList } from "./plan-paste.js";
import { toast } from "./toast.js";

const ROLES = ["prefill", "decode", "unified"];
const WORKS = new Set(["ready", "degraded"]);
const WORDS = { "+": "started or added: ", "-": "ended or removed: ", "~": "changed: ", " ": "" };

/** Why a run's workers cannot be changed now; empty when they can. */
export function whyFixed(run) {
  if (run.attached) return "Its workers are added and removed where it was started: here it is only watched.";
  if (run.state === "unsupervised") return "It has no runner that could add or remove workers. Adopt it first.";
  if (!run.can_stop || run.ended_s) return "It has ended. Clone it to start it with other numbers of workers.";
  return WORKS.has(run.state) ? "" : `Workers can be added and removed once it is ready; it is ${run.state} now.`;
}

function workersOf(run) {
  return ROLES.map((role) => ({ role, count: new Set(run.processes.filter((one) => one.role === role).map(({ name }) => name.split("-rank")[0])).size }))
    .filter(({ count }) => count > 0);
}

function lineNodes(lines) {
  return el("div", { class: "pd-scale-lines", tabindex: "0", role: "group", "aria-label": "What changes", "data-testid": "scale-lines" },
    ...lines.map(({ sign, text }) =>
      el("div", { class: "pd-scale-line", data: { sign } }, el("span", { class: "pd-unseen" }, WORDS[sign] ?? ""), el("span", { "aria-hidden": "true" }, `${sign} `), text)));
}

function restartNode(names) {
  if (names.length === 0) return null;
  return el("p", { class: "pd-scale-restarts" }, `Restarted: ${names.join(", ")}. Requests under way fail meanwhile.`);
}

/** Shows what another number of workers changes and returns whether the person wants it. */
async function agreed(run, shown) {
  const counts = Object.keys(shown.after)
    .filter((role) => shown.before[role] !== shown.after[role])
    .map((role) => `${role} ${shown.before[role]} → ${shown.after[role]}`);
  const body = [
    el("p", {}, counts.join(", ")),
    lineNodes(shown.lines),
    restartNode(shown.restarts),
    ...shown.notes.map((note) => el("p", { class: "pd-hint" }, note)),
    el("p", { class: "pd-hint", "data-testid": "scale-room" }, shown.room.join(" ")),
    shown.findings.length > 0 ? findingList(shown.findings) : null,
  ].filter((node) => node !== null);
  const actions = [{ label: "Cancel", value: "" }, { label: "Apply", value: "yes", tone: "primary" }];
  return (await ask({ title: `Change the workers of ${run.name || run.id}?`, body, actions, testid: "scale-dialog" })) === "yes";
}

async function change(run, role, count, tell, begin) {
  const counts = { [role]: count };
  try {
    const shown = await previewScale(run.id, counts);
    if (!(await agreed(run, shown))) return;
    begin();
    tell(`Going over to ${count} ${role} workers …`, "idle");
    await scaleRun(run.id, { ...counts, shown: shown.id });
    tell("", "idle");
    toast(`${run.name || run.id} has ${count} ${role} ${count === 1 ? "worker" : "workers"}.`, { tone: "good" });
  } catch (error) {
    tell(error.message, "bad");
  }
}

/** Returns {node, update(run)}; `tell(text, tone)` shows what goes on and what failed. */
export function scaleControls(first, tell) {
  let run = first;
  let asking = false;
  let busy = false;
  const rows = el("div", { class: "pd-scale-roles" });
  const why = el("p", { class: "pd-hint" });
  const node = el("div", { class: "pd-scale", role: "group", "aria-label": "Number of workers", "data-testid": "scale" }, rows, why);

  async function act(role, by) {
    if (asking) return;
    asking = true;
    const now = workersOf(run).find((one) => one.role === role)?.count ?? 0;
    // Not before the answer: a button that is disabled loses the focus.
    await change(run, role, now + by, tell, () => {
      busy = true;
      view.update(run);
    });
    asking = busy = false;
    view.update(run);
  }

  function makeRole({ role }) {
    const button = (by, text, label) =>
      el("button", { type: "button", class: "pd-button", "aria-label": label, title: label, data: { by }, on: { click: () => act(role, by) } }, text);
    return el("span", { class: "pd-scale-role", data: { role } },
      el("span", {}, role), button(-1, "−", `Remove a ${role} worker`), el("b", { class: "pd-scale-count" }), button(1, "+", `Add a ${role} worker`));
  }

  const view = {
    node,
    update(now) {
      run = now;
      const fixed = whyFixed(run);
      setText(why, fixed);
      setAttribute(why, "hidden", fixed === "");
      setAttribute(rows, "hidden", fixed !== "");
      keyed(rows, workersOf(run), ({ role }) => role, makeRole, (one, { count }) => {
        setText(one.querySelector("b"), count);
        const [less, more] = one.querySelectorAll("button");
        setAttribute(less, "disabled", busy || count <= 1);
        setAttribute(more, "disabled", busy);
      });
    },
  };
  return view;
}
