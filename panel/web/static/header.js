// The strip above the tabs: name, run choice, and chips for processes and connection.

import { el, keyed, setText, svg } from "./dom.js";
import { shortModel, stateLabel } from "./format.js";
import { store } from "./store.js";

const THEME_KEY = "pdpanel-theme";

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
  if (state === "refused") return "Signed out: open the URL that the panel printed";
  if (state === "connecting") return "Connecting";
  return `Disconnected, next try in ${Math.max(1, Math.round(waitMs / 1000))} s`;
}

/** Applies the person's theme, if one was chosen; the system's choice otherwise. */
function applyTheme() {
  const chosen = localStorage.getItem(THEME_KEY);
  if (chosen) document.body.classList.toggle("dark", chosen === "dark");
}

export function header(island) {
  applyTheme();
  const picker = el("select", { id: "pd-run", "data-testid": "run-picker", "aria-label": "Run" });
  picker.addEventListener("change", () => store.choose(picker.value));
  const pickerBox = el("label", { class: "pd-runpick" }, el("span", {}, "Run"), picker);
  const processes = el("span", { class: "pd-chip", "data-testid": "processes-chip" });
  const live = el("span", { class: "pd-chip", "data-testid": "live-chip", role: "status" });
  const theme = el("button", { type: "button", class: "pd-button pd-quiet", "data-testid": "theme" });
  const nameTheme = () => setText(theme, document.body.classList.contains("dark") ? "Light" : "Dark");
  theme.title = "Switch between light and dark";
  theme.addEventListener("click", () => {
    const dark = document.body.classList.toggle("dark");
    localStorage.setItem(THEME_KEY, dark ? "dark" : "light");
    nameTheme();
  });
  new MutationObserver(nameTheme).observe(document.body, { attributeFilter: ["class"] });
  nameTheme();

  island.append(
    el(
      "header",
      { class: "pd-header" },
      el(
        "div",
        { class: "pd-brand" },
        mark(),
        el("div", {}, el("h1", {}, "pdpanel"), el("p", {}, "Prefill and decode on separate workers")),
      ),
      el("div", { class: "pd-chips" }, pickerBox, processes, live, theme),
    ),
  );

  store.on(["runs", "selected"], () => {
    const runs = store.list();
    pickerBox.hidden = runs.length === 0;
    keyed(
      picker,
      runs,
      (run) => run.id,
      (run) => el("option", { value: run.id }),
      (option, run) => setText(option, `${shortModel(run.model)} · ${stateLabel(run.state)} · ${run.id.split("-").pop()}`),
    );
    if (store.selected !== null) picker.value = store.selected;
    const run = store.run();
    const ready = run ? run.processes.filter((process) => process.state === "ready").length : 0;
    setText(processes, run ? `${ready} of ${run.processes.length} processes ready` : "No run yet");
    processes.dataset.tone = !run || ready === 0 ? "idle" : ready === run.processes.length ? "good" : "busy";
  });
  store.on(["live"], () => {
    setText(live, connectionText(store.live));
    live.dataset.state = store.live.state;
    live.dataset.tone = { live: "good", connecting: "idle" }[store.live.state] ?? "bad";
    document.documentElement.dataset.connection = store.live.state;
  });
}
