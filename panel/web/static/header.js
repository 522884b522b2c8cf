// The strip above the tabs: name, run choice, and chips for processes and connection.

import { account } from "./account.js";
import { el, keyed, setAttribute, setHidden, setText, svg } from "./dom.js";
import { runLabel, shortModel } from "./format.js";
import { showHelp } from "./help.js";
import { listenForKeys } from "./shortcuts.js";
import { store } from "./store.js";
import { theme } from "./theme.js";

function mark() {
  return svg(
    "svg",
    { viewBox: "0 0 32 32", width: 28, height: 28, "aria-hidden": "true", class: "pd-mark" },
    svg("rect", { x: 1, y: 1, width: 30, height: 30, rx: 7, class: "pd-mark-ground" }),
    svg("circle", { cx: 10, cy: 11, r: 4, class: "pd-mark-prefill" }),
    svg("circle", { cx: 22, cy: 21, r: 4, class: "pd-mark-decode" }),
    svg("path", { d: "M13.5 13.5 18.5 18.5", class: "pd-mark-link" }),
  );
}

function connectionText({ state, waitMs }) {
  if (state === "live") return "Live";
  if (state === "refused") return "Signed out: reload the page, or open the URL that the panel printed";
  if (state === "connecting") return "Connecting";
  return `Disconnected, next try in ${Math.max(1, Math.round(waitMs / 1000))} s`;
}

/** Leads past header and tabs into the open view. */
function skipLink() {
  const link = el("a", { href: "#", class: "pd-skip" }, "Skip to the view");
  link.addEventListener("click", (event) => {
    // The hash is the page's address, so the link may not change it.
    event.preventDefault();
    const panel = [...document.querySelectorAll('#pd-tabs [role="tabpanel"]')].find((node) => node.clientWidth > 0);
    panel?.setAttribute("tabindex", "-1");
    panel?.focus();
  });
  return link;
}

export function header(island) {
  theme.begin();
  const picker = el("select", { id: "pd-run", "data-testid": "run-picker", "aria-label": "Run" });
  picker.addEventListener("change", () => store.choose(picker.value));
  const pickerBox = el("label", { class: "pd-runpick" }, el("span", {}, "Run"), picker);
  const processes = el("span", { class: "pd-chip", "data-testid": "processes-chip" });
  const live = el("span", { class: "pd-chip", "data-testid": "live-chip", role: "status" });
  const simulated = el("span", { class: "pd-chip pd-simulated", "data-testid": "simulated", hidden: true, title: "Nothing of this was measured on this host" }, "SIMULATED");
  const help = el("button", { type: "button", class: "pd-button pd-quiet", "data-testid": "help", on: { click: showHelp } }, "Help");
  const other = el("button", { type: "button", class: "pd-button pd-quiet", "data-testid": "theme", title: "Switch between light and dark" });
  other.addEventListener("click", () => theme.toggle());
  theme.on(() => setText(other, theme.dark ? "Light" : "Dark"));
  listenForKeys(showHelp);

  island.append(
    skipLink(),
    el(
      "header",
      { class: "pd-header" },
      el(
        "div",
        { class: "pd-brand" },
        mark(),
        el("div", {}, el("h1", {}, "pdpanel"), el("p", {}, "Prefill and decode on separate workers")),
      ),
      el("div", { class: "pd-chips" }, simulated, pickerBox, processes, live, help, other),
    ),
  );
  account(island.querySelector(".pd-chips"));

  store.on(["runs", "selected"], () => {
    const runs = store.list();
    setHidden(simulated, !store.simulated);
    setHidden(pickerBox, runs.length === 0);
    keyed(
      picker,
      runs,
      (run) => run.id,
      (run) => el("option", { value: run.id }),
      (option, run) => setText(option, `${shortModel(run.model)} · ${runLabel(run)} · ${run.id.split("-").pop()}`),
    );
    if (store.selected !== null) picker.value = store.selected;
    const run = store.run();
    const ready = run ? run.processes.filter((process) => process.state === "ready").length : 0;
    setText(processes, run ? `${ready} of ${run.processes.length} processes ready` : "No run yet");
    setAttribute(processes, "data-tone", !run || ready === 0 ? "idle" : ready === run.processes.length ? "good" : "busy");
  });
  store.on(["live"], () => {
    setText(live, connectionText(store.live));
    live.dataset.state = store.live.state;
    live.dataset.tone = { live: "good", connecting: "idle" }[store.live.state] ?? "bad";
    document.documentElement.dataset.connection = store.live.state;
  });
}
