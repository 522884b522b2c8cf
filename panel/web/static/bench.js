// The Benchmark tab: a load is chosen and started, watched while it goes on, kept, and compared with others.

import { address } from "./address.js";
import { benchAccuracy } from "./bench-accuracy.js";
import { isActive, loads } from "./bench-api.js";
import { benchCompare } from "./bench-compare.js";
import { benchDetail } from "./bench-detail.js";
import { benchForm } from "./bench-form.js";
import { benchList } from "./bench-list.js";
import { benchUnified } from "./bench-unified.js";
import { el, isVisible, setText } from "./dom.js";
import { toast } from "./toast.js";

const TICK_MS = 1000;
// Somebody else may have started one: from the command line, or in another tab.
const IDLE_TICKS = 5;

export function bench(island) {
  let list = [];
  let open = address.get("load");
  let entry = null;
  let compared = (address.get("loads") ?? "").split(",").filter(Boolean);
  let busy = false;
  let ticks = 0;
  const whole = new Map();
  const trouble = el("p", { class: "pd-outcome", role: "alert", data: { tone: "bad" } });
  const form = benchForm(async (body) => began(await loads.start(body)));
  const accuracy = benchAccuracy(async (body) => began(await loads.evaluate(body)));
  const detail = benchDetail({
    stop: (one) => act(() => loads.stop(one.id)),
    unified: (one) => act(() => yardstick.offer(one)),
    again: (one, run) => act(() => yardstick.repeat(one, run.id)),
  });
  // What is measured against another result is shown beside it once both are there.
  const yardstick = benchUnified((id, of) => {
    compared = [of, id];
    results.tick(compared);
    address.set("loads", compared.join(","));
    began(id);
  });
  const compare = benchCompare();
  const results = benchList({
    open: (id) => {
      show(id);
      detail.node.scrollIntoView({ block: "nearest" });
    },
    ticked: (ids) => {
      compared = ids;
      address.set("loads", ids.join(","));
      refresh();
    },
    changed: () => refresh(),
  });
  island.append(
    el("h2", { class: "pd-unseen" }, "Benchmark"),
    el("div", { class: "pd-bsplit" }, el("div", { class: "pd-stack" }, form.node, accuracy.node), el("div", { class: "pd-stack" }, trouble, yardstick.node, detail.node, compare.node, results.node)),
  );
  if (compared.length > 0) results.tick(compared);

  function show(id) {
    open = id;
    entry = null;
    address.set("load", id);
    refresh();
  }

  function began(id) {
    toast("The benchmark has begun; it goes on when you close this page.");
    show(id);
  }

  async function act(work) {
    try {
      await work();
    } catch (error) {
      toast(error.message, { tone: "bad" });
    }
    refresh();
  }

  /** Asks for what is new of the opened one: rows after those that are here. */
  async function look() {
    if (!open) return;
    if (entry?.id === open && !isActive(entry)) return;
    const held = entry?.id === open && entry.rows ? entry.rows : [];
    const next = await loads.get(open, held.length);
    // What is saved at the end may be thinned: it is taken whole.
    entry = isActive(next) ? { ...next, rows: [...held, ...next.rows] } : held.length > 0 ? await loads.get(open) : next;
  }

  async function refresh() {
    if (busy || !isVisible(island)) return;
    busy = true;
    try {
      list = await loads.list();
      if (!open || !list.some((one) => one.id === open)) {
        const active = list.find(isActive);
        open = active?.id ?? (open && list.some((one) => one.id === open) ? open : null);
        if (!open) entry = null;
      }
      await look();
      for (const id of compared) {
        if (!whole.has(id) && list.some((one) => one.id === id && !isActive(one))) whole.set(id, await loads.get(id));
      }
      setText(trouble, "");
    } catch (error) {
      setText(trouble, error.message);
    } finally {
      busy = false;
    }
    draw();
  }

  function draw() {
    detail.show(entry === null ? null : withScore(entry));
    results.show(list, open ?? "");
    const known = compared.filter((id) => list.some((one) => one.id === id)).map((id) => whole.get(id)).filter(Boolean);
    compare.show(known.map(withScore));
  }

  /** The newest score of the same run beside a load's speed. */
  function withScore(one) {
    const score = one.kind === "load" && one.run ? list.find((other) => other.kind === "accuracy" && other.run === one.run && other.state === "finished") : null;
    if (!score) return one;
    const { exact_match, exact_match_stderr, questions } = score.columns;
    return { ...one, columns: { ...one.columns, exact_match, exact_match_stderr, questions } };
  }

  function tick() {
    ticks += 1;
    const goesOn = list.some(isActive) || (entry !== null && isActive(entry));
    if (goesOn || ticks % IDLE_TICKS === 0) refresh();
  }

  setInterval(tick, TICK_MS);
  // Opened: what is there is shown at once.
  new ResizeObserver(() => refresh()).observe(island);
  address.on("load", (id, from) => {
    if (from === "outside") show(id);
  });
}
