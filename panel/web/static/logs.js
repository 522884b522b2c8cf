// The Logs tab: one process's log, its end as it is written or any part of it, with search, levels and explanations.

import { address } from "./address.js";
import { copyButton } from "./clipboard.js";
import { el, keyed, setText } from "./dom.js";
import { bytes } from "./format.js";
import { LogNote } from "./logs-note.js";
import { LogPane } from "./logs-pane.js";
import { LogReport } from "./logs-report.js";
import { LogSearch, paint } from "./logs-search.js";
import { END, LogSource } from "./logs-source.js";
import { Channel } from "./socket.js";
import { store } from "./store.js";

const LEVELS = [["all", "All lines"], ["info", "Without debug"], ["warning", "Warnings and errors"], ["error", "Errors"]];
const SHOWN_BY = { info: ["info", "warning", "error"], warning: ["warning", "error"], error: ["error"] };
const DRAW_MS = 60;

export function logs(island) {
  const picker = el("select", { id: "pd-log", "data-testid": "log-process" });
  const level = el("select", { id: "pd-log-level", "data-testid": "log-level" }, LEVELS.map(([value, words]) => el("option", { value }, words)));
  const follow = el("input", { id: "pd-follow", type: "checkbox", checked: true, "data-testid": "log-follow" });
  const wrap = el("input", { id: "pd-wrap", type: "checkbox", checked: true, "data-testid": "log-wrap" });
  const time = el("input", { id: "pd-log-time", type: "text", maxlength: 40, autocomplete: "off", placeholder: "14:03:22", "data-testid": "log-time" });
  const explain = el("button", { type: "button", class: "pd-button", "data-testid": "log-explain" }, "Explain all logs");
  const firstError = el("button", { type: "button", class: "pd-button", "data-testid": "log-first-error" }, "First error");
  const download = el("a", { class: "pd-button pd-linkbutton", download: "", "data-testid": "log-download" }, "Download");
  const state = el("p", { class: "pd-hint", role: "status", "data-testid": "log-state" });
  const trouble = el("p", { class: "pd-outcome", role: "status", "data-testid": "log-trouble" });

  let source = null;
  let channel = null;
  let loading = false;
  let turn = new AbortController();
  let waiting = [];
  let timer = null;
  let problem = "";
  let binary = false;
  let painting = 0;

  const note = new LogNote(() => pane.node.focus({ preventScroll: true }));
  const pane = new LogPane({ load: (side) => load(side), onMark: (finding) => note.show(finding), onPause: () => setFollow(false) });
  const report = new LogReport();
  const search = new LogSearch({
    source: () => source,
    anchor: (backward) => {
      const row = pane.current();
      if (row) return backward ? row.at : row.end;
      return pane.follow && backward ? END : pane.follow ? 0 : pane.topPlace();
    },
    show: (at) => goTo(at),
    tell: (text) => say(text),
    onChange: () => repaint(),
  });
  const when = el(
    "form",
    { class: "pd-toolbar", "aria-label": "Go to a time" },
    el("label", { for: "pd-log-time", class: "pd-inline" }, el("span", {}, "Time"), time),
    el("button", { type: "submit", class: "pd-button", "data-testid": "log-time-go" }, "Go"),
  );
  const empty = el("div", { class: "pd-empty" }, el("h3", {}, "No logs yet"), el("p", {}, "Each process of a run writes a log file; deploy a run and its processes appear here."));
  const body = el(
    "section",
    { class: "pd-card pd-stack pd-logs", "aria-label": "Process log" },
    el("div", { class: "pd-toolbar" },
      el("label", { for: "pd-log", class: "pd-inline" }, el("span", {}, "Process"), picker),
      el("label", { for: "pd-log-level", class: "pd-inline" }, el("span", {}, "Show"), level),
      el("label", { for: "pd-follow", class: "pd-check" }, follow, el("span", {}, "Follow")),
      el("label", { for: "pd-wrap", class: "pd-check" }, wrap, el("span", {}, "Wrap lines")),
      firstError,
      explain,
      when,
      copyButton("Copy", () => pane.text(), { "data-testid": "log-copy" }),
      download,
    ),
    search.node,
    trouble,
    report.node,
    note.node,
    pane.node,
    state,
  );
  island.append(empty, body);

  function say(text) {
    trouble.dataset.tone = text ? "bad" : "idle";
    setText(trouble, text);
  }

  function repaint() {
    cancelAnimationFrame(painting);
    painting = requestAnimationFrame(() => paint(pane.node, search.query));
  }

  function tell() {
    repaint();
    const rows = pane.node.childElementCount;
    const parts = [];
    if (rows === 0) parts.push(level.value === "all" ? "The log is empty so far." : loading ? "Looking for such lines …" : "No such line in this log.");
    else parts.push(pane.start > 0 || !pane.atEnd ? `Bytes ${bytes(pane.start)} to ${bytes(pane.end)} of ${bytes(pane.size)} are shown; scroll for more.` : `All ${bytes(pane.size)} are shown.`);
    if (binary) parts.push("This file does not look like text: what cannot be shown is left out.");
    if (!pane.atEnd && !follow.checked && rows > 0) parts.push("Follow goes back to the end.");
    setText(state, problem || parts.join(" "));
  }

  function filtered(packet) {
    const wanted = SHOWN_BY[level.value];
    return wanted ? { ...packet, rows: packet.rows.filter((row) => wanted.includes(row.level)) } : packet;
  }

  function setFollow(on) {
    pane.follow = on;
    follow.checked = on;
  }

  /** Runs one step that shows rows; a newer one of another log makes it void. */
  async function step(work) {
    const mine = turn;
    loading = true;
    try {
      await work(mine.signal);
    } catch (error) {
      if (mine === turn && error.name !== "AbortError") say(error.message);
    } finally {
      if (mine === turn) {
        loading = false;
        tell();
      }
    }
  }

  function load(side) {
    if (loading || !source) return;
    step(async (signal) => {
      const page = await source.page(side, side === "before" ? pane.start : pane.end, level.value, signal);
      if (page.log !== pane.log) return toEnd(signal);
      if (side === "before") pane.addAbove(page);
      else pane.addBelow(page);
      // A filter may find nothing in a large part: go on until there is something to see.
      if (page.rows.length === 0 && page.more) setTimeout(() => load(side), 0);
    });
  }

  async function toEnd(signal) {
    let page = await source.page("before", END, level.value, signal);
    pane.reset(page);
    while (pane.node.childElementCount < 60 && page.more && level.value !== "all") {
      tell();
      page = await source.page("before", pane.start, level.value, signal);
      pane.addAbove(page);
      if (pane.follow) pane.toBottom();
    }
  }

  async function goTo(at) {
    setFollow(false);
    if (pane.holds(at) && pane.rowAt(at)) return pane.show(at);
    restart();
    await step(async (signal) => pane.reset(await source.page("around", at, level.value, signal), at));
    pane.scrolled();
  }

  function restart() {
    turn.abort();
    turn = new AbortController();
    loading = false;
    waiting = [];
  }

  function draw() {
    timer = null;
    const packets = waiting;
    waiting = [];
    for (const packet of packets) {
      // With a filter the end is searched for backwards: the last rows of the file may hold none of its lines.
      if (level.value !== "all" && (pane.log !== packet.log || packet.restarted)) {
        if (pane.log === null || follow.checked) {
          restart();
          step(toEnd);
        }
      } else if (!pane.take(filtered(packet)) && pane.follow) load("after");
    }
    tell();
  }

  function take(packet) {
    if (packet.type === "error" || packet.type === "problem") {
      problem = packet.reason;
      tell();
    } else if (packet.type === "log") {
      problem = "";
      // What was not text stays in the file, also when text is written behind it.
      binary = packet.binary || (binary && packet.log === pane.log);
      waiting.push(packet);
      timer ??= setTimeout(draw, DRAW_MS);
    }
  }

  function close() {
    channel?.close();
    channel = null;
  }

  function connect() {
    if (channel || !source || island.clientWidth === 0) return;
    channel = new Channel(source.socketPath, {
      onMessage: take,
      onState: (kind) => {
        if (kind === "disconnected") setText(state, "Disconnected: the log goes on when the panel is back.");
      },
    });
  }

  function open() {
    const run = store.run();
    const wanted = run && picker.value ? new LogSource(run.id, picker.value) : null;
    if (wanted?.path === source?.path) return;
    close();
    restart();
    source = wanted;
    problem = "";
    binary = false;
    say("");
    note.close();
    if (report.run !== source?.run) report.close();
    pane.clear();
    setFollow(true);
    search.forget();
    if (!source) return;
    download.href = source.fileUrl;
    address.set("log", picker.value);
    connect();
    tell();
  }

  picker.addEventListener("change", open);
  level.addEventListener("change", () => {
    if (!source) return;
    restart();
    say("");
    const at = pane.follow ? null : pane.topPlace();
    if (at === null) step(toEnd);
    else goTo(at);
  });
  follow.addEventListener("change", () => {
    setFollow(follow.checked);
    if (!follow.checked || !source) return;
    restart();
    if (pane.atEnd) pane.toBottom();
    else step(toEnd);
  });
  wrap.addEventListener("change", () => pane.node.classList.toggle("pd-nowrap", !wrap.checked));
  firstError.addEventListener("click", async () => {
    if (!source) return;
    say("");
    try {
      for (let at = 0; ; ) {
        const found = await source.search({ level: "error" }, { at, most: 1 }, turn.signal);
        if (found.hits.length > 0) return await goTo(found.hits[0]);
        if (found.done) return setText(state, "No line of this log reports an error.");
        at = found.at;
        setText(state, `Looking for an error, ${Math.round((100 * at) / Math.max(1, found.size))} %`);
      }
    } catch (error) {
      if (error.name !== "AbortError") say(error.message);
    }
  });
  explain.addEventListener("click", () => source && report.ask(source.run, say));
  when.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!source || !time.value.trim()) return;
    say("");
    try {
      await goTo(await source.placeOfTime(time.value.trim()));
    } catch (error) {
      say(error.message);
    }
  });
  pane.node.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !source) return;
    if (event.key === "End") {
      setFollow(true);
      follow.dispatchEvent(new Event("change"));
    } else if (event.key === "Home") goTo(0);
    else if (event.key === "/") search.text.focus();
    else return;
    event.preventDefault();
  });
  // A tab that nobody looks at follows nothing.
  new ResizeObserver(() => (island.clientWidth === 0 ? close() : connect())).observe(island);
  store.on(["runs", "selected"], () => {
    const run = store.run();
    empty.hidden = run !== null;
    body.hidden = run === null;
    const before = picker.value || address.get("log");
    const names = run ? [...run.processes.map((process) => process.name), ...run.removed, ...run.other_logs] : [];
    keyed(
      picker,
      names,
      (name) => name,
      (name) => el("option", { value: name }),
      (option, name) => setText(option, run.removed.includes(name) ? `${name} (removed)` : name),
    );
    if (names.includes(before)) picker.value = before;
    open();
  });
}
