// Says it when a run has got a new runner while the page was open: who did that was the panel, not the person.

import { store } from "./store.js";
import { toast } from "./toast.js";

export function tellNewRunners() {
  const seen = new Map();
  store.on(["runs"], () => {
    for (const run of store.list()) {
      const at = run.adopted_s ?? null;
      if (at !== null && seen.has(run.id) && seen.get(run.id) !== at) {
        toast(`${run.name || run.id} has a new runner: the one before had ended. Its processes went on.`, { tone: "good" });
      }
      seen.set(run.id, at);
    }
  });
}
