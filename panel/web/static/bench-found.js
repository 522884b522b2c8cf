// Results that lie in the logs of attached runs: offered above the list, taken over at a click.

import { loads } from "./bench-api.js";
import { el, keyed, setAttribute, setText } from "./dom.js";
import { store } from "./store.js";
import { toast } from "./toast.js";

const results = (count) => `${count} ${count === 1 ? "result" : "results"}`;

/** Returns {node, refresh(entries)}; `changed()` is called when results were taken over. */
export function benchFound(changed) {
  const list = el("ul", { class: "pd-plain" });
  const node = el("section", { class: "pd-bfound", hidden: true, "aria-label": "Found in the attached logs", "data-testid": "bench-found" },
    el("h4", { class: "pd-label" }, "Found in the attached logs"), list);
  let busy = false;

  async function take(one, button) {
    button.disabled = true;
    try {
      const added = await loads.takeFound(one);
      toast(`${results(added.length)} of ${one.source} added to the list.`, { tone: "good" });
      changed();
    } catch (error) {
      toast(error.message, { tone: "bad" });
    } finally {
      button.disabled = false;
    }
  }

  function row(one) {
    const words = el("span", { class: "pd-name" });
    const button = el("button", { type: "button", class: "pd-button" }, "Add to the list");
    button.addEventListener("click", () => take(one, button));
    return el("li", { class: "pd-toolbar" }, words, button);
  }

  return {
    node,
    /** Asks what there is, and leaves out what the list holds already. */
    async refresh(entries) {
      if (busy) return;
      if (!store.list().some((run) => run.attached)) {
        node.hidden = true;
        return;
      }
      busy = true;
      try {
        const here = new Set(entries.filter((entry) => entry.kind === "imported").map((entry) => `${entry.run} ${String(entry.source).replace(/, line \d+$/, "")}`));
        const offered = (await loads.found()).filter((one) => !here.has(`${one.run} ${one.source}`));
        node.hidden = offered.length === 0;
        keyed(list, offered, (one) => `${one.run} ${one.log} ${one.results}`, row, (line, one) => {
          setText(line.firstChild, `${one.source}: ${results(one.results)} (run ${one.run})`);
          setAttribute(line.lastChild, "aria-label", `Add ${one.source} to the list`);
        });
      } catch {
        // The list stays as it was; its own question says what is wrong.
      } finally {
        busy = false;
      }
    },
  };
}
