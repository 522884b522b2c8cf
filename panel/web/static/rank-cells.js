// The ranks of a worker as a row of cells, and in words: what each one computes, and whether it lives.

import { svg } from "./dom.js";

const MOST_CELLS = 16;
// Of more ranks than that so many, and how many more there are.
const FEWER_CELLS = 12;
// A digit of the mono font.
const DIGIT_PX = 6.6;
const CELL = { height: 16, gap: 3 };

/** A range [first, stop) as people say it; nothing for an empty one. */
function span([first, stop]) {
  if (stop <= first) return "";
  return stop - first === 1 ? `${first}` : `${first}–${stop - 1}`;
}

/** Experts as ranges: 0–3, 8. */
function listed(numbers) {
  const parts = [];
  for (const number of numbers) {
    const last = parts.at(-1);
    if (last && last[1] === number) last[1] = number + 1;
    else parts.push([number, number + 1]);
  }
  return parts.map(span).join(", ");
}

/** What a rank has: {heads, kv, experts}, each as text; empty where it is not known. */
export function shareOf(rank) {
  return {
    heads: rank.heads ? span(rank.heads) : "",
    kv: rank.kv_heads ? span(rank.kv_heads) : "",
    experts: listed(rank.experts),
  };
}

/** One rank in a sentence. */
export function rankWords(rank, sizes) {
  const { heads, kv, experts } = shareOf(rank);
  const parts = [];
  if (sizes.attn_dp > 1) parts.push(`attention group ${rank.group}`);
  if (sizes.nodes > 1) parts.push(`node ${rank.node}`);
  if (heads) parts.push(`heads ${heads}`, `KV heads ${kv}`);
  if (experts) parts.push(`experts ${experts}`);
  const gone = rank.alive === false ? ", gone" : "";
  return `rank ${rank.rank}${gone}${parts.length > 0 ? `: ${parts.join(", ")}` : ""}`;
}

/** The sizes of a worker in a few words: TP 2 · DP attention 2 · EP 2 (gloo) · 2 nodes. */
export function sizeWords({ sizes, backend }) {
  const parts = [`TP ${sizes.tp}`];
  if (sizes.attn_dp > 1) parts.push(`DP attention ${sizes.attn_dp}`);
  if (sizes.ep > 1) parts.push(`EP ${sizes.ep}${backend ? ` (${backend})` : ""}`);
  if (sizes.nodes > 1) parts.push(`${sizes.nodes} nodes`);
  return parts.join(" · ");
}

/** A group of cells within `width`, for the ranks of one process. */
export function rankCells(ranks, sizes, { x, y, width }) {
  const shown = ranks.length > MOST_CELLS ? ranks.slice(0, FEWER_CELLS) : ranks;
  const places = Math.min(ranks.length, MOST_CELLS);
  const wide = Math.min(44, (width - CELL.gap * (places - 1)) / places);
  const group = svg("g", { transform: `translate(${x} ${y})`, class: "pd-ranks" });
  shown.forEach((rank, place) => {
    const title = svg("title");
    title.textContent = rankWords(rank, sizes);
    const text = svg("text", { x: wide / 2, y: CELL.height - 4.5, "text-anchor": "middle" });
    const { experts } = shareOf(rank);
    const label = sizes.ep > 1 && experts && wide >= 40 ? `E${experts}` : `${rank.rank}`;
    text.textContent = label.length * DIGIT_PX <= wide ? label : "";
    group.append(svg("g", {
      transform: `translate(${place * (wide + CELL.gap)} 0)`,
      class: "pd-rank",
      "data-rank": rank.rank,
      "data-group": rank.group % 4,
      "data-alive": rank.alive === false ? "no" : "yes",
    }, title, svg("rect", { width: wide, height: CELL.height, rx: 3 }), text));
  });
  if (shown.length < ranks.length) {
    const more = svg("text", { x: shown.length * (wide + CELL.gap), y: CELL.height - 4.5, class: "pd-rank-more" });
    more.textContent = `+${ranks.length - shown.length}`;
    group.append(more);
  }
  return group;
}
