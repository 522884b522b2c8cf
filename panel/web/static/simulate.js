// What a simulated host is, and the deployment that it suggests in one click; nothing on a real one.

import { url } from "./base.js";
import { el, openTab, setText } from "./dom.js";
import { store } from "./store.js";

const MODEL = "SmolLM2-135M-Instruct";

async function asked() {
  try {
    const answer = await fetch(url("/api/simulation"), { cache: "no-store" });
    return answer.ok ? (await answer.json()).host : null;
  } catch {
    return null;
  }
}

function card(host) {
  const outcome = el("span", { class: "pd-hint", role: "status", "data-testid": "simulation-outcome" });
  const button = el("button", { type: "button", class: "pd-button", "data-testid": "simulation-deploy" },
    `Deploy ${host.prefill} prefill + ${host.decode} decode worker${host.decode === 1 ? "" : "s"}`);
  button.addEventListener("click", () => {
    openTab("deploy");
    window.pdpanel.deploy?.("pd", MODEL, host.prefill, host.decode, "mooncake");
    setText(outcome, "Its start is shown below; then open Try it, send a prompt, and watch the NICs in Observe.");
  });
  const offer = host.gpus > 1
    ? el("p", {}, "Suggested: ", button, ` on ${host.placed}. The engine is the bundled one: each worker is one thread on this machine's CPU; all of them together take 1 to 2 GB. `, outcome)
    : null;
  return el("section", { class: "pd-guide pd-simulation", "aria-label": "Simulated host", "data-testid": "simulation" },
    el("h2", {}, `SIMULATED: ${host.title}`), el("p", {}, host.told), offer);
}

export function simulate(island) {
  let looked = false;
  let node = null;

  function update() {
    // Who has a run that goes on is past the suggestion.
    if (node) node.hidden = store.list().some((run) => store.isActive(run));
  }

  async function look() {
    looked = true;
    const host = await asked();
    if (!host) return;
    node = card(host);
    island.append(node);
    update();
  }

  store.on(["runs"], () => {
    if (store.simulated && !looked) look();
    update();
  });
}
