// What travels over the host's links now: numbers as people read them, a gap with its reason where one is missing.

import { bytes } from "./format.js";
import { setAttribute, setText } from "./dom.js";
import { store } from "./store.js";

const STALE_S = 4;

/** Why no number of any link can be shown, or an empty text. */
export function outage() {
  if (store.live.state !== "live") return "the panel does not answer";
  if (store.host.at === null) return "the host's links are not sampled yet";
  const age = store.now() - store.host.at;
  const most = Math.max(STALE_S, 3 / Math.max(store.host.rateHz, 0.1));
  return age > most ? `the last sample is ${Math.round(age)} s old` : "";
}

/** {tx, rx, reason, source} of a link now, in bytes per second; null where a number is missing. */
export function traffic(key) {
  const none = outage();
  const link = none ? null : store.host.links.get(key);
  if (!link) return { tx: null, rx: null, reason: none || "nothing samples this link", source: "" };
  return { tx: link.tx_bytes_per_s, rx: link.rx_bytes_per_s, reason: link.reason, source: link.source };
}

function inUnit(value, [divisor], whole = 100) {
  if (value === null || value === undefined) return "–";
  const number = value / divisor;
  if (number === 0) return "0";
  if (number < 0.05) return "<0.1";
  return number >= whole ? String(Math.round(number)) : number.toFixed(1);
}

function unitOf(value) {
  return value >= 1e9 ? [1e9, "GB/s"] : value >= 1e6 ? [1e6, "MB/s"] : [1e3, "kB/s"];
}

/** Both directions in one short line, with the most that the link carries where that is known. */
export function meter({ tx, rx }, capacity) {
  const unit = unitOf(capacity ?? Math.max(tx ?? 0, rx ?? 0));
  const most = capacity ? ` / ${inUnit(capacity, unit).replace(".0", "")}` : "";
  return `↑ ${inUnit(tx, unit)} ↓ ${inUnit(rx, unit)}${most} ${unit[1]}`;
}

/** The same for a GPU's NVLinks, in less room; empty when nothing travels. */
export function nvlinkMeter({ tx, rx }) {
  if (!tx && !rx) return "";
  const unit = unitOf(Math.max(tx ?? 0, rx ?? 0));
  return `↑ ${inUnit(tx, unit, 10)} ↓ ${inUnit(rx, unit, 10)} ${unit[1]}`;
}

/** How full a link is, 0 to 1; of a link whose most is not known, how much it is on a log scale up to 50 GB/s. */
export function fullness({ tx, rx }, capacity) {
  const value = Math.max(tx ?? 0, rx ?? 0);
  if (value <= 0) return 0;
  return Math.min(1, capacity ? value / capacity : Math.log10(value + 1) / Math.log10(50e9));
}

/** Fills every [data-link] below `root` with what travels now. */
export function fillLive(root) {
  for (const node of root.querySelectorAll("[data-link]")) {
    const now = traffic(node.dataset.link);
    const value = now[node.dataset.direction];
    const most = Number(node.dataset.capacity) || null;
    const missing = value === null || value === undefined;
    const share = most && !missing ? ` (${Math.round((100 * value) / most)} %)` : "";
    setText(node, missing ? "–" : `${bytes(value)}/s${share}`);
    setAttribute(node, "title", missing ? now.reason : now.source);
    setAttribute(node, "aria-label", missing ? `unknown: ${now.reason}` : null);
    setAttribute(node, "role", missing ? "img" : null);
  }
}
