// The large numbers on top of Observe: what happens now, each with its unit.

import { el, setHidden, setText } from "./dom.js";
import { number } from "./format.js";
import { kvLimit, share } from "./line-rate.js";
import { store } from "./store.js";
import { scaled } from "./units.js";

const KV = "run/kv_bytes_per_s";
const SHARE = "kv-share";
const TILES = [
  ["kv", "KV transfer", "B/s", () => store.nowValue(KV)],
  ["kv-peak", "KV peak in the window", "B/s", (from) => store.frame.peak(KV, from)],
  [SHARE, "Share of the line rate", "", () => null],
  ["requests", "Requests running", "", () => store.nowValue("run/running")],
  ["tokens", "Generated tokens", "tokens/s", () => store.nowValue("run/generated_tokens_per_s")],
  ["ttft", "Time to first token, p99", "s", () => store.nowValue("run/ttft_p99_s")],
];

export function observeTiles() {
  const parts = new Map();
  const nodes = TILES.map(([name, label]) => {
    const value = el("span", { class: "pd-big", data: { testid: `now-${name}` } }, "–");
    const unit = el("span", { class: "pd-unit" });
    const node = el("div", { class: "pd-tile" }, el("dt", {}, label), el("dd", {}, value, unit));
    parts.set(name, { value, unit, node });
    return node;
  });
  return {
    node: el("dl", { class: "pd-tiles pd-tiles-observe" }, ...nodes),
    /** Fills the tiles; the peak is that since `from`. */
    update(from) {
      for (const [name, , unit, read] of TILES) {
        if (name === SHARE) continue;
        const part = parts.get(name);
        const value = read(from);
        const { divisor, label } = scaled(unit, value ?? 0);
        setText(part.value, number(value === null ? null : value / divisor));
        setText(part.unit, value === null ? "" : label);
      }
      const limit = kvLimit(store.series);
      const now = store.nowValue(KV);
      const { value, unit, node } = parts.get(SHARE);
      setHidden(node, limit === null);
      setText(value, limit === null || now === null ? "–" : share(now, limit.value));
      setText(unit, limit === null ? "" : `of ${limit.text}`);
    },
  };
}
