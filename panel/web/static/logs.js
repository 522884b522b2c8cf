// The Logs tab: the end of one process's log, and then each line as it is written.

import { el, keyed, setText } from "./dom.js";
import { bytes } from "./format.js";
import { Channel } from "./socket.js";
import { store } from "./store.js";

const LONGEST_NODES = 400;
const BATCH_MS = 60;

export function logs(island) {
  const picker = el("select", { id: "pd-log", "data-testid": "log-process" });
  const follow = el("input", { id: "pd-follow", type: "checkbox", checked: true, "data-testid": "log-follow" });
  const wrap = el("input", { id: "pd-wrap", type: "checkbox", checked: true });
  const state = el("span", { class: "pd-hint", role: "status", "data-testid": "log-state" });
  const pane = el("pre", { class: "pd-log", tabindex: 0, role: "log", "aria-live": "off", "aria-label": "Log", "data-testid": "log" });
  const empty = el("div", { class: "pd-empty" }, el("h3", {}, "No logs yet"), el("p", {}, "Each process of a run writes a log file; deploy a run and its processes appear here."));
  const body = el(
    "section",
    { class: "pd-card pd-stack", "aria-label": "Process log" },
    el("div", { class: "pd-toolbar" },
      el("label", { for: "pd-log", class: "pd-inline" }, el("span", {}, "Process"), picker),
      el("label", { for: "pd-follow", class: "pd-check" }, follow, el("span", {}, "Follow")),
      el("label", { for: "pd-wrap", class: "pd-check" }, wrap, el("span", {}, "Wrap lines")),
      state,
    ),
    pane,
  );
  island.append(empty, body);

  let channel = null;
  let opened = "";
  let waiting = [];
  let timer = null;

  function flush() {
    timer = null;
    const text = waiting.join("");
    waiting = [];
    if (text) pane.append(text);
    while (pane.childNodes.length > LONGEST_NODES) pane.firstChild.remove();
    if (follow.checked) pane.scrollTop = pane.scrollHeight;
  }

  function clear() {
    waiting = [];
    pane.replaceChildren();
  }

  function take(packet) {
    if (packet.type === "error") {
      clear();
      waiting.push(packet.reason);
    } else if (packet.type === "open") {
      clear();
      setText(state, "The log is empty so far.");
    } else {
      if (packet.restarted) {
        clear();
        setText(state, packet.skipped > 0 ? `The first ${bytes(packet.skipped)} are not shown.` : "");
      }
      waiting.push(packet.text);
    }
    timer ??= setTimeout(flush, BATCH_MS);
  }

  function open() {
    const run = store.run();
    const wanted = run && picker.value ? `/api/log?run=${encodeURIComponent(run.id)}&process=${encodeURIComponent(picker.value)}` : "";
    if (wanted === opened) return;
    opened = wanted;
    channel?.close();
    clear();
    setText(state, "");
    channel = wanted
      ? new Channel(wanted, {
          onMessage: take,
          onState: (kind) => {
            if (kind === "disconnected") setText(state, "Disconnected: the log goes on when the panel is back.");
          },
        })
      : null;
  }

  picker.addEventListener("change", open);
  follow.addEventListener("change", () => {
    if (follow.checked) pane.scrollTop = pane.scrollHeight;
  });
  wrap.addEventListener("change", () => pane.classList.toggle("pd-nowrap", !wrap.checked));
  store.on(["runs", "selected"], () => {
    const run = store.run();
    empty.hidden = run !== null;
    body.hidden = run === null;
    const before = picker.value;
    const names = run ? [...run.processes.map((process) => process.name), ...run.other_logs] : [];
    keyed(
      picker,
      names,
      (name) => name,
      (name) => el("option", { value: name }),
      (option, name) => setText(option, name),
    );
    if (names.includes(before)) picker.value = before;
    open();
  });
}
