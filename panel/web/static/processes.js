// The table of one run's processes, updated in place: a row keeps its buttons and their focus.

import * as actions from "./actions.js";
import { el, keyed, setAttribute, setText } from "./dom.js";
import { rowFilter } from "./filter.js";
import { bytes, duration, exitText, percent, stateLabel } from "./format.js";
import { findingList } from "./plan-paste.js";
import { openProfile } from "./profile.js";
import { store } from "./store.js";

const COLUMNS = ["Process", "State", "PID", "Port", "Uptime", "CPU", "Memory", "Actions"];
const STOPPABLE = new Set(["pending", "starting", "ready", "restarting"]);

/** Parts of a note, one behind the other. */
const noted = (...parts) => parts.filter(Boolean).map((part) => part.replace(/\.$/, "")).join("; ");

async function act(row, run, name, action, tell) {
  row.dataset.busy = action;
  tell(`${action === "stop" ? "Stopping" : "Restarting"} ${name} …`, "idle");
  try {
    await actions.actOnProcess(run, name, action);
    tell("", "idle");
  } catch (error) {
    tell(error.message, "bad");
  } finally {
    delete row.dataset.busy;
  }
}

/** What the doctor says of an end, folded; empty while there is nothing to say. */
function crashBox() {
  return el("details", { class: "pd-crash", hidden: true, "data-testid": "crash" }, el("summary"), el("div"));
}

/** That a process failed is told by its exit code alone: what its log says stands before that. */
function tellingFirst(findings) {
  const tells = ({ id, severity }) => (id === "exit-failed" || severity === "info" ? 1 : 0);
  return [...findings].sort((one, other) => tells(one) - tells(other));
}

function updateCrash(box, process) {
  // A process that was asked to stop ended as it should; one that lives may have crashed before.
  const ended = process.state !== "stopped" && (process.state === "crashed" || process.restarts > 0);
  setAttribute(box, "hidden", !ended || (process.findings.length === 0 && process.exit_code === null));
  if (box.hidden) return;
  const how = exitText(process.exit_code);
  const count = process.findings.length;
  setText(box.firstChild, [how, count > 0 ? `explained (${count})` : ""].filter(Boolean).join(" · ") || "how it ended");
  const key = JSON.stringify(process.findings);
  if (box.dataset.shown === key) return;
  box.dataset.shown = key;
  box.lastChild.replaceChildren(
    count > 0 ? findingList(tellingFirst(process.findings)) : el("p", { class: "pd-hint" }, "The log says nothing that the doctor knows. Open it in Logs."),
  );
}

function makeRow(run, process, tell) {
  const cell = (label, ...inner) => el("td", { data: { label } }, ...inner);
  const name = process.name;
  const row = el(
    "tr",
    { data: { process: name } },
    el(
      "th",
      { scope: "row" },
      el("span", { class: "pd-role", data: { role: process.role } }, process.role),
      el("span", { class: "pd-name" }, name),
      process.place ? el("span", { class: "pd-place pd-hint", "data-testid": "place" }, process.place) : null,
    ),
    cell("State", el("span", { class: "pd-state" }), el("span", { class: "pd-stage" }), crashBox()),
    cell("PID"),
    cell("Port"),
    cell("Uptime"),
    cell("CPU"),
    cell("Memory"),
  );
  const button = (action, label) =>
    el(
      "button",
      {
        type: "button",
        class: "pd-button",
        data: { action },
        "aria-label": `${label} ${name}`,
        on: { click: () => act(row, run.id, name, action, tell) },
      },
      label,
    );
  const profile = el(
    "button",
    { type: "button", class: "pd-button", data: { action: "profile" }, "aria-label": `Profile ${name}`, on: { click: () => openProfile(run.id, name) } },
    "Profile",
  );
  row.append(cell("Actions", el("div", { class: "pd-actions" }, button("restart", "Restart"), button("stop", "Stop"), profile)));
  return row;
}

function updateRow(row, process, run, lost) {
  setAttribute(row, "data-state", process.state);
  const [, state, pid, port, , cpu, memory, buttons] = row.children;
  setText(state.firstChild, stateLabel(process.state));
  setAttribute(state.firstChild, "data-state", process.state);
  const again = process.restarts > 0 ? `restarted ${process.restarts === 1 ? "once" : `${process.restarts} times`}` : "";
  const why = process.message && again ? `${again}; last: ${process.message}` : again;
  const stage = STOPPABLE.has(process.state) || process.state === "stopping" ? process.stage : "";
  let about = process.state === "ready" ? why : stage || process.message || again;
  // Why it starts anew is worth more than how far it is.
  if (process.state === "starting" && why) about = noted(stage, why);
  if (process.state === "restarting") about = noted(process.message, stage);
  const short = process.state === "ready" ? lost : "";
  setText(state.children[1], short || about);
  setAttribute(state.children[1], "data-tone", short ? "bad" : null);
  updateCrash(state.children[2], process);
  setText(pid, process.pid ?? "–");
  setText(port, process.port ?? "–");
  setText(cpu, percent(process.cpu_percent));
  setText(memory, bytes(process.rss_bytes));
  setUptime(row, process);
  const [restart, stop, profile] = buttons.querySelectorAll("button");
  setAttribute(profile, "hidden", !process.can_profile);
  setAttribute(profile, "disabled", process.state !== "ready");
  // What somebody else started is watched, never ended.
  setAttribute(restart.parentNode, "hidden", run.attached);
  const busy = row.dataset.busy !== undefined;
  setAttribute(stop, "disabled", busy || !STOPPABLE.has(process.state));
  // Of a run that has ended only the whole starts again.
  setAttribute(restart, "disabled", busy || process.state === "stopping" || !run.can_stop);
}

function setUptime(row, process) {
  const lives = process.started_s !== null && process.pid !== null;
  setText(row.children[4], lives ? duration(store.now() - process.started_s) : "–");
}

/**
 * Returns {node, update(run)}; `tell(text, tone)` shows the outcome of an action, `lost(name)` says which ranks a worker
 * goes on without.
 */
export function processTable(run, tell, lost = () => "") {
  const body = el("tbody");
  const head = el("tr", {}, ...COLUMNS.map((column) => el("th", { scope: "col" }, column)));
  const table = el("table", { class: "pd-table pd-processes" }, el("thead", {}, head), body);
  table.prepend(el("caption", { class: "pd-unseen" }, `Processes of run ${run.id}`));
  let latest = run;
  const filter = rowFilter("processes", () => view.update(latest));
  const scroll = el("div", { class: "pd-scroll", tabindex: 0, role: "group", "aria-label": "Processes" }, table);
  const node = el("div", {}, filter.node, scroll);
  const view = {
    node,
    update(now) {
      latest = now;
      // A long table scrolls in its box, a short one with the page.
      scroll.classList.toggle("pd-tall", now.processes.length > 20);
      const shown = filter.keep(now.processes, ({ name, role, state, message }) => `${name} ${role} ${stateLabel(state)} ${message}`);
      keyed(
        body,
        shown,
        (process) => process.name,
        (process) => makeRow(now, process, tell),
        (row, process) => updateRow(row, process, now, lost(process.name)),
      );
    },
    tick(now) {
      for (const process of now.processes) {
        const row = body.querySelector(`tr[data-key="${CSS.escape(process.name)}"]`);
        if (row) setUptime(row, process);
      }
    },
  };
  return view;
}
