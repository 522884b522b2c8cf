// The yardstick of a result: the same deployment unified, then the same load on it; and a load done again elsewhere.

import * as actions from "./actions.js";
import { loads } from "./bench-api.js";
import { ask } from "./dialog.js";
import { el, openTab, setText } from "./dom.js";
import { shortModel } from "./format.js";
import { askJson, plan } from "./plan-store.js";
import { store } from "./store.js";
import { toast } from "./toast.js";

const KEY = "pdpanel.bench.next";
const ENDED = new Set(["failed", "stopped", "crashed"]);

/** What a load that was measured asks for, without where it went. */
function bodyOf(entry) {
  const { url, ...spec } = entry.spec;
  return Object.fromEntries(Object.entries(spec).filter(([, value]) => value !== null && value !== ""));
}

/** Only what was measured here can be done again: of other programs' results the arrivals are not known. */
export const canRepeat = (entry) => entry.kind === "load" && Boolean(entry.spec?.arrival);

export const takesLoad = (run) => Boolean(run?.router_url) && ["ready", "degraded", "unsupervised"].includes(run.state);

function kept() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? [];
  } catch {
    return [];
  }
}

/**
 * Returns {node, offer(entry), repeat(entry, run)}. `began(id, of)` is told of each load that has begun; the node says
 * what is waited for.
 */
export function benchUnified(began) {
  const list = el("div", { class: "pd-stack" });
  const node = el("div", { hidden: true, "data-testid": "bench-next" }, list);
  let waiting = kept();

  function keep(next) {
    waiting = next;
    try {
      sessionStorage.setItem(KEY, JSON.stringify(waiting));
    } catch {
      // Without room the wait ends with the page.
    }
    draw();
  }

  function draw() {
    node.hidden = waiting.length === 0;
    list.replaceChildren(...waiting.map((one) => {
      const text = el("span");
      setText(text, `The unified run ${one.run} starts. When it is ready, the load of "${one.name}" is sent to it.`);
      return el("p", { class: "pd-notice", role: "status" }, text,
        el("button", { type: "button", class: "pd-button", on: { click: () => keep(waiting.filter((other) => other !== one)) } }, "Do not send it"));
    }));
  }

  async function repeat(entry, run) {
    const id = await loads.start({ ...bodyOf(entry), run });
    began(id, entry.id);
  }

  async function follow(one) {
    try {
      await repeat(await loads.get(one.load), one.run);
    } catch (error) {
      toast(error.message, { tone: "bad" });
    }
  }

  function look() {
    for (const one of waiting) {
      const run = store.runs.get(one.run);
      if (run && takesLoad(run)) {
        keep(waiting.filter((other) => other !== one));
        follow(one);
      } else if (run && ENDED.has(run.state)) {
        keep(waiting.filter((other) => other !== one));
        toast(`The unified run ${one.run} did not become ready, so no load was sent to it. Deploy and Logs say why.`, { tone: "bad" });
      }
    }
  }

  /** Shows what would be started, and starts it. */
  async function offer(entry) {
    const twin = await actions.unifiedOf(entry.run);
    const many = `${twin.workers} unified worker${twin.workers === 1 ? "" : "s"}`;
    const steps = el("ol", { class: "pd-steps" },
      el("li", {}, `${many} of ${shortModel(store.runs.get(entry.run)?.model || entry.model || "the same model")} start beside what runs now: as many as prefill and decode have together (${entry.mode}).`),
      el("li", {}, "When they are ready, the same load is sent to them: the same lengths, arrivals and seed, so the same prompts."),
      el("li", {}, "Both results are shown side by side. The unified run goes on until you stop it."));
    const body = twin.needs_consent ? [steps, el("p", { class: "pd-hint" }, "This deployment decides which programs run, so you see its commands in Plan first. Afterwards press \"Run the same load\" on this result.")] : steps;
    const label = twin.needs_consent ? "Open in Plan" : `Start ${many}`;
    const answer = await ask({ title: "Compare with unified", body, testid: "bench-unified", actions: [{ label: "Cancel", value: "" }, { label, value: "yes", tone: "primary" }] });
    if (answer !== "yes") return;
    if (twin.needs_consent) {
      plan.begin({ kind: "run", name: `the unified deployment beside ${entry.run}`, text: twin.text });
      openTab("plan");
      return;
    }
    const { consent, problem } = await askJson("offer", { text: twin.text });
    if (problem) throw new Error(problem);
    const { run } = await askJson("start", { text: twin.text, consent });
    keep([...waiting, { run, load: entry.id, name: entry.name }]);
    look();
  }

  draw();
  store.on(["runs"], look);
  return { node, offer, repeat };
}
