// What a start of the planned deployment on this host would meet, beside the plan; a fix changes the text.

import { deployCheck } from "./deploy-check.js";
import { isVisible } from "./dom.js";
import { plan } from "./plan-store.js";
import { store } from "./store.js";
import { toast } from "./toast.js";

const same = (one, other) => one.id === other.id && one.subject === other.subject && one.reason === other.reason;

/** Returns the node that shows it. */
export function planCheck() {
  const check = deployCheck({
    body: (text) => ({ text }),
    apply(fix) {
      plan.take(fix.path, String(fix.value));
      toast(`${fix.label}: ${fix.path} is ${fix.value} in the text now.`, { tone: "good", action: { label: "Undo", run: () => plan.undo() } });
    },
    // The plan's own findings stand in its own list.
    known: (finding) => (plan.answer?.findings ?? []).some((other) => same(finding, other)),
    fits: ({ path }) => plan.form.fields.some((field) => field.path === path),
    testid: "plan-check",
  });
  let runs = "";

  function ask() {
    if (!plan.answer) return;
    // The last plan is shown while the text is wrong; what would start is not known then.
    check.node.hidden = plan.answer.error !== null;
    if (plan.answer.error === null && isVisible(check.node)) check.ask(plan.answer.text);
  }

  plan.on(["answer"], ask);
  // A tab that is opened gets a size: what came meanwhile is asked then.
  new ResizeObserver(ask).observe(check.node);
  store.on(["runs"], () => {
    // A run that came or went took or freed ports and memory.
    const now = store.list().map((run) => `${run.id} ${run.can_stop}`).join();
    if (runs !== now) check.again();
    runs = now;
  });
  return check.node;
}
