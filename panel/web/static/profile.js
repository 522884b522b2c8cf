// The profile of one worker: a dialog that begins and ends it, gives its traces away and says what took the time.

import { profileAction, profileStatus, profileSummary, profileTrace } from "./actions.js";
import { ask } from "./dialog.js";
import { el, keyed, setAttribute, setText } from "./dom.js";
import { bytes, duration } from "./format.js";
import { profilePage } from "./profile-page.js";
import { store } from "./store.js";

const ASK_MS = 1000;
const GOING = new Set(["profiling", "writing"]);

function stateWords(status) {
  const { state, began_s: began, steps, limit_s: limit, error } = status;
  const count = `${steps} step${steps === 1 ? "" : "s"}`;
  if (state === "profiling") return `Profiling for ${duration(store.now() - began)}, ${count} so far; it ends by itself after ${limit} s.`;
  if (state === "writing") return "Writing the traces …";
  if (state === "done") return [`Profiled ${count}.`, error].filter(Boolean).join(" ");
  if (state === "failed") return error;
  return "Records what the worker does until you stop it, half a minute at most. Send it some requests meanwhile.";
}

/** Which rank's page is shown, where there are several: {node, update(ranks, chosen)}. */
function rankChoice(choose) {
  const node = el("div", { class: "pd-segments", role: "group", "aria-label": "Rank", hidden: true });
  return {
    node,
    update(ranks, chosen) {
      setAttribute(node, "hidden", ranks.length < 2);
      keyed(node, ranks, (rank) => rank,
        (rank) => el("button", { type: "button", class: "pd-button", on: { click: () => choose(rank) } }, `Rank ${rank}`),
        (button, rank) => setAttribute(button, "aria-pressed", String(rank === chosen)));
    },
  };
}

/** Opens the dialog of a process and follows its profile until it is closed. */
export async function openProfile(run, name) {
  const says = el("p", { role: "status", "data-testid": "profile-state" });
  const button = (action, label) => el("button", { type: "button", class: "pd-button", data: { action }, on: { click: () => act(action) } }, label);
  const [start, stop] = [button("start", "Start"), button("stop", "Stop")];
  const files = el("ul", { class: "pd-profile-files", "data-testid": "profile-files" });
  const hint = el("p", { class: "pd-hint", hidden: true }, "A trace opens in Perfetto (ui.perfetto.dev), which keeps it in the browser.");
  const reading = el("p", { class: "pd-hint", role: "status", hidden: true }, "Reading the trace …");
  const choice = rankChoice((rank) => look(() => summarise(rank)));
  const about = profilePage();
  let open = true;
  let timer = 0;
  let shown = "";
  let latest = null;

  async function summarise(wanted = 0) {
    const here = latest.files.filter((file) => file.bytes !== null).map(({ rank }) => rank);
    const rank = here.includes(wanted) ? wanted : here[0];
    const key = rank === undefined ? "" : `${latest.folder} ${rank}`;
    if (key === shown) return;
    shown = key;
    choice.update(here, rank);
    about.show(null);
    if (rank === undefined) return;
    setAttribute(reading, "hidden", false);
    try {
      const found = await profileSummary(run, name, rank);
      if (open && shown === key) about.show(found);
    } catch (error) {
      // Pressed again, it is asked for again.
      if (shown === key) shown = "";
      throw error;
    } finally {
      if (shown === key || shown === "") setAttribute(reading, "hidden", true);
    }
  }

  function forget() {
    shown = "";
    about.show(null);
    setAttribute(reading, "hidden", true);
    choice.update([], 0);
  }

  function show(status) {
    latest = status;
    setText(says, stateWords(status));
    setAttribute(says, "data-state", status.state);
    const held = [start, stop].includes(document.activeElement);
    setAttribute(start, "disabled", GOING.has(status.state));
    setAttribute(stop, "disabled", !GOING.has(status.state));
    // A button that is disabled would lose the focus to nowhere.
    if (held) (stop.disabled ? start : stop).focus();
    keyed(files, status.state === "done" ? status.files : [], ({ rank, path }) => `${rank} ${path}`, ({ rank, path, bytes: size }) => {
      const text = `Trace of rank ${rank}`;
      return el("li", {}, size === null ? `${text}: ${path} on its own host` : el("a", { href: profileTrace(run, name, rank), download: "" }, `${text} (${bytes(size)})`));
    }, () => {});
    setAttribute(hint, "hidden", files.children.length === 0);
  }

  /** Does `work`; what goes wrong with it is said, and a profile can be begun anew. */
  async function look(work) {
    try {
      await work();
    } catch (error) {
      if (!open) return;
      setText(says, error.message);
      setAttribute(says, "data-state", "failed");
      setAttribute(start, "disabled", false);
      setAttribute(stop, "disabled", true);
    }
  }

  async function follow(question) {
    clearTimeout(timer);
    await look(async () => {
      const status = await question();
      if (!open) return;
      show(status);
      if (status.state === "done") await summarise();
      if (open && GOING.has(status.state)) timer = setTimeout(() => follow(() => profileStatus(run, name)), ASK_MS);
    });
  }

  function act(action) {
    // Pressed twice before the worker answers: once is enough.
    if (start.dataset.busy) return;
    start.dataset.busy = action;
    clearTimeout(timer);
    setText(says, action === "stop" ? "Writing the traces …" : "Beginning …");
    if (action === "start") forget();
    follow(() => profileAction(run, name, action)).finally(() => delete start.dataset.busy);
  }

  follow(() => profileStatus(run, name));
  const body = [says, el("div", { class: "pd-actions" }, start, stop), files, hint, choice.node, reading, about.node];
  await ask({ title: `Profile of ${name}`, body, actions: [{ label: "Close", value: "" }], testid: "profile-dialog" });
  open = false;
  clearTimeout(timer);
}
