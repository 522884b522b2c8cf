// Entry: mounts each view when Gradio has put its island into the page, and offers hooks to tests and consoles.

import { attach } from "./attach.js";
import { bench } from "./bench.js";
import { check, deploy } from "./deploy.js";
import { el, setHidden } from "./dom.js";
import { exportTab } from "./export-tab.js";
import { guide } from "./guide.js";
import { hardware } from "./hardware.js";
import { header } from "./header.js";
import { history } from "./history.js";
import { logs } from "./logs.js";
import { observe } from "./observe.js";
import { keepPlace } from "./place.js";
import { planTab } from "./plan.js";
import { proof } from "./proof.js";
import { tellNewRunners } from "./new-runner.js";
import { runs } from "./runs.js";
import { simulate } from "./simulate.js";
import { store } from "./store.js";
import { toast } from "./toast.js";
import { tryIt } from "./tryit.js";
import { verdict } from "./verdict.js";

const VIEWS = { attach, header, guide, simulate, check, deploy, runs, history, tryit: tryIt, observe, verdict, proof, bench, logs, hardware, plan: planTab, export: exportTab };

/** Gives a view its heading, for those who do not see the tabs, and the mark of a host that is made up. */
function headView(island) {
  const panel = island.closest('[role="tabpanel"]');
  if (!panel || panel.querySelector(".pd-simulated-note")) return;
  const note = el("p", { class: "pd-simulated-note", hidden: true, "data-testid": "simulated-note" }, "SIMULATED: this host, its devices and their counters are made up.");
  const name = document.getElementById(`${panel.id}-button`)?.textContent ?? "";
  panel.prepend(el("h2", { class: "pd-unseen" }, name.trim()), note);
  store.on(["runs"], () => {
    setHidden(note, !store.simulated);
  });
}

function mountAll() {
  for (const island of document.querySelectorAll("[data-island]:not([data-mounted])")) {
    const view = VIEWS[island.dataset.island];
    if (!view) continue;
    island.dataset.mounted = "";
    headView(island);
    view(island);
  }
}

window.pdpanel = {
  /** How many sample packets have been drawn. */
  get ticks() {
    return store.ticks;
  },
  get series() {
    return store.series;
  },
  get rows() {
    return store.rows;
  },
  get runs() {
    return store.list();
  },
  get selected() {
    return store.selected;
  },
  get connection() {
    return store.live.state;
  },
  /** The newest value of a series in its own unit (bytes/s for KV), or null. */
  lastValue: (key) => store.lastValue(key),
  select: (id) => store.choose(id),
  toast,
  charts: {},
};

new MutationObserver(mountAll).observe(document.documentElement, { childList: true, subtree: true });
mountAll();
keepPlace();
tellNewRunners();
store.connect();
