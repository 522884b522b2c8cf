// The picture of a plan: hosts as boxes with their GPUs, workers on them, and which pairs KV travels between.

import { el, setAttribute, svg } from "./dom.js";
import { gpuWords } from "./plan-preview.js";
import { rankCells, rankWords, sizeWords } from "./rank-cells.js";

const NARROW_PX = 560;
const WIDE = { worker: 168, high: 40, pad: 12, head: 38, gap: 10, lane: 76, column: 124, cell: 15 };
const NARROW = { ...WIDE, worker: 132, lane: 34, column: 40, pad: 8, cell: 13 };
// A row of cells below the facts of a worker.
const RANKS_PX = 22;
// Who takes prompts, and the embeddings of images with them.
const TAKERS = new Set(["prefill", "unified"]);
// More hosts than this in a column become tiles without their workers.
const MOST_HOSTS = 8;
const MOST_WIRES = 96;
const MOST_WORKERS = 12;
const MOST_CELLS = 16;
const TILE = { width: 84, height: 26, gap: 6, across: 4, seen: 160 };

/** What runs on each host: {name, address, workers, gpus, lane}; lane 0 is before prefill, 1 prefill, 2 decode. */
function hostsOf(answer) {
  return answer.nodes.map((node) => {
    const workers = node.entries.filter(({ kind }) => kind === "command").map((entry) => ({ ...entry, own: ranksOf(answer, entry.name) }));
    const roles = new Set(workers.map(({ role }) => role));
    const used = workers.flatMap(({ gpus }) => gpus.map(Number)).filter((gpu) => Number.isInteger(gpu));
    const said = answer.hosts[node.name] ?? {};
    const gpus = Math.max(said.gpus ?? 0, ...used.map((gpu) => gpu + 1), 0);
    const mixed = roles.has("decode") && roles.size > 1 && roles.has("prefill");
    const lane = mixed || roles.has("prefill") ? 1 : roles.has("decode") ? 2 : 0;
    return { name: node.name || "this host", address: node.address, gpu: said.gpu ?? "", workers, gpus, mixed, lane };
  });
}

/** The ranks that a process is planned to have: {ranks, sizes, backend}; null without several. */
function ranksOf(answer, name) {
  for (const worker of Object.values(answer.ranks ?? {})) {
    const ranks = worker.ranks.filter(({ process }) => process === name);
    if (ranks.length > 0) return { ...worker, ranks };
  }
  return null;
}

function facts(worker) {
  const parts = [];
  if (worker.gpus.length > 0) parts.push(gpuWords(worker.gpus));
  if (worker.ports.http) parts.push(`:${worker.ports.http}`);
  else if (worker.rank > 0) parts.push(`node `);
  return parts.join("  ");
}

const NAME_PX = 7.6;
const SMALL_PX = 6.2;
const fits = (text, width, letter = SMALL_PX) => {
  const most = Math.floor(width / letter);
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
};

/** The workers of a host from left to right: whoever sends to others stands before them. */
function lanesOf({ workers, mixed }) {
  const decodes = workers.filter(({ role }) => role === "decode");
  const others = workers.filter(({ role }) => role !== "decode");
  const takers = others.filter(({ role }) => TAKERS.has(role));
  const isSeen = others.some(({ role }) => role === "encoder") && takers.length > 0;
  const before = isSeen ? others.filter(({ role }) => !TAKERS.has(role)) : [];
  const lanes = [before, isSeen ? takers : others, decodes];
  return mixed || isSeen ? lanes.filter((lane) => lane.length > 0) : [workers];
}

/** Where everything of one host stands, from its own corner. */
function measure(host, size) {
  const lanes = lanesOf(host);
  const shown = lanes.map((lane) => lane.slice(0, MOST_WORKERS));
  const more = host.workers.length - shown.flat().length;
  const rows = Math.max(1, ...shown.map((lane) => lane.length));
  const width = size.pad * 2 + size.worker * lanes.length + size.lane * (lanes.length - 1);
  const cells = Math.min(host.gpus, MOST_CELLS);
  const perRow = Math.max(1, Math.floor((width - size.pad * 2) / (size.cell + 3)));
  const cellRows = Math.ceil(cells / perRow);
  const body = size.head + rows * (size.high + size.gap) - size.gap + (more > 0 ? 18 : 0);
  const height = body + (cellRows > 0 ? 12 + cellRows * (size.cell + 3) : 0) + size.pad;
  return { lanes: shown, more, rows, width, height, cells, perRow, body };
}

function drawWorker(worker, x, y, size) {
  const state = svg("text", { x: 12, y: 32, class: "pd-plan-small" });
  state.textContent = fits(facts(worker), size.worker - 16);
  const name = svg("text", { x: 12, y: 17, class: "pd-plan-name" });
  name.textContent = fits(worker.name, size.worker - 16, NAME_PX);
  const group = svg("g", { transform: `translate(${x} ${y})`, class: "pd-plan-worker", "data-role": worker.role },
    svg("rect", { width: size.worker, height: size.high, rx: 6 }),
    svg("rect", { width: 4, height: size.high - 12, y: 6, rx: 2, class: "pd-plan-bar" }), name, state);
  if (worker.own) group.append(rankCells(worker.own.ranks, worker.own.sizes, { x: 12, y: 39, width: size.worker - 20 }));
  return group;
}

function drawHost(host, x, y, size, spots) {
  const plan = measure(host, size);
  const title = svg("text", { x: size.pad, y: 18, class: "pd-plan-host-name" });
  title.textContent = fits(host.name, plan.width - size.pad * 2, NAME_PX);
  const under = svg("text", { x: size.pad, y: 32, class: "pd-plan-small" });
  const gpus = host.gpus > 0 ? `${host.gpus} × ${host.gpu || "GPU"}` : "";
  under.textContent = fits([host.address !== host.name ? host.address : "", gpus].filter(Boolean).join("  "), plan.width - size.pad * 2);
  const group = svg("g", { transform: `translate(${x} ${y})`, class: "pd-plan-host" },
    svg("rect", { width: plan.width, height: plan.height, rx: 10, class: "pd-plan-frame" }), title, under);
  plan.lanes.forEach((lane, column) => {
    const left = size.pad + column * (size.worker + size.lane);
    const above = ((plan.rows - lane.length) * (size.high + size.gap)) / 2;
    lane.forEach((worker, index) => {
      const top = size.head + above + index * (size.high + size.gap);
      spots.set(worker, { left: x + left, right: x + left + size.worker, middle: y + top + size.high / 2 });
      group.append(drawWorker(worker, left, top, size));
    });
  });
  if (plan.more > 0) {
    const more = svg("text", { x: size.pad, y: plan.body - 2, class: "pd-plan-small" });
    more.textContent = `and ${plan.more} more`;
    group.append(more);
  }
  for (let gpu = 0; gpu < plan.cells; gpu += 1) {
    const owner = host.workers.find((worker) => worker.gpus.map(Number).includes(gpu));
    const at = { x: size.pad + (gpu % plan.perRow) * (size.cell + 3), y: plan.body + 12 + Math.floor(gpu / plan.perRow) * (size.cell + 3) };
    const number = svg("text", { x: at.x + size.cell / 2, y: at.y + size.cell - 4, class: "pd-plan-gpu-number", "text-anchor": "middle" });
    number.textContent = String(gpu);
    group.append(svg("rect", { ...at, width: size.cell, height: size.cell, rx: 3, class: "pd-plan-gpu", "data-role": owner?.role ?? "none" }), number);
  }
  return { group, ...plan };
}

/** Many hosts: a tile for each, coloured by what runs there. */
function drawTiles(hosts, x, y, size) {
  const group = svg("g", { transform: `translate(${x} ${y})` });
  const across = size.worker === NARROW.worker ? 2 : TILE.across;
  hosts.forEach((host, index) => {
    const role = host.mixed ? "mixed" : (host.workers[0]?.role ?? "none");
    const name = svg("text", { x: 11, y: 17, class: "pd-plan-tile-name" });
    name.textContent = fits(host.name, TILE.width - 14, 7);
    const at = `translate(${(index % across) * (TILE.width + TILE.gap)} ${Math.floor(index / across) * (TILE.height + TILE.gap)})`;
    group.append(svg("g", { transform: at, class: "pd-plan-worker", "data-role": role },
      svg("rect", { width: TILE.width, height: TILE.height, rx: 5 }),
      svg("rect", { width: 4, height: TILE.height - 10, y: 5, rx: 2, class: "pd-plan-bar" }), name));
  });
  const columns = Math.min(across, hosts.length);
  return { group, width: columns * (TILE.width + TILE.gap) - TILE.gap, height: Math.ceil(hosts.length / across) * (TILE.height + TILE.gap) - TILE.gap };
}

function wire(from, to, kind) {
  const bend = Math.max(20, (to.left - from.right) / 2);
  return svg("path", { d: `M${from.right} ${from.middle} C${from.right + bend} ${from.middle} ${to.left - bend} ${to.middle} ${to.left} ${to.middle}`, class: `pd-wire pd-wire-${kind}` });
}

function draw(picture, answer, narrow) {
  const hosts = hostsOf(answer);
  const plain = narrow ? NARROW : WIDE;
  const size = hosts.some(({ workers }) => workers.some(({ own }) => own)) ? { ...plain, high: plain.high + RANKS_PX } : plain;
  const columns = [0, 1, 2].map((lane) => hosts.filter((host) => host.lane === lane)).filter((column) => column.length > 0);
  const spots = new Map();
  const drawn = columns.map((column) => {
    const tiled = column.length > MOST_HOSTS;
    const high = tiled ? drawTiles(column, 0, 0, size).height : column.reduce((sum, host) => sum + measure(host, size).height + 14, -14);
    return { column, tiled, high };
  });
  const height = Math.max(...drawn.map(({ high }) => high), 40);
  const groups = [];
  let x = 1;
  for (const { column, tiled, high } of drawn) {
    let y = (height - high) / 2 + 16;
    let wide = 0;
    if (tiled) {
      const tiles = drawTiles(column, x, y, size);
      groups.push(tiles.group);
      wide = tiles.width;
      const spot = { left: x, right: x + wide, middle: y + Math.min(tiles.height / 2, TILE.seen), tiled };
      for (const worker of column.flatMap(({ workers }) => workers)) spots.set(worker, spot);
    } else {
      for (const host of column) {
        const box = drawHost(host, x, y, size, spots);
        groups.push(box.group);
        wide = Math.max(wide, box.width);
        y += box.height + 14;
      }
    }
    x += wide + size.column;
  }
  const all = hosts.flatMap(({ workers }) => workers);
  const of = (role) => all.filter((worker) => worker.role === role && worker.rank === 0 && spots.has(worker));
  // Hosts that are tiles share one end, so that hundreds of them do not make thousands of wires.
  const ends = (role) => [...new Set(of(role).map((worker) => spots.get(worker)))];
  const distinct = ends("prefill").flatMap((from) => ends("decode").map((to) => [from, to]));
  const pairs = of("prefill").length * of("decode").length;
  // Between tiles one thick wire stands for all pairs.
  const wires = distinct.slice(0, MOST_WIRES).map(([from, to]) => {
    const path = wire(from, to, "kv");
    if (from.tiled && to.tiled) path.style.strokeWidth = "7px";
    return path;
  });
  const images = ends("encoder").flatMap((from) => [...ends("prefill"), ...ends("unified")].map((to) => [from, to]))
    .filter(([from, to]) => from.right <= to.left);
  wires.push(...images.slice(0, MOST_WIRES).map(([from, to]) => wire(from, to, "image")));
  const width = x - size.column + 1;
  picture.setAttribute("viewBox", `0 0 ${width} ${height + 20}`);
  picture.style.maxWidth = `${width}px`;
  // With three lanes a narrow picture is better moved than too small to read.
  picture.style.minWidth = `${Math.min(width, narrow ? Math.max(300, size.worker * (images.length > 0 ? 3 : 0)) : 480)}px`;
  const parts = [...groups, ...wires];
  if (distinct.length > 0) {
    const [from, to] = distinct[0];
    const middle = (from.right + to.left) / 2;
    const bundled = from.tiled && to.tiled;
    const above = svg("text", { x: middle, y: bundled ? (from.middle + to.middle) / 2 - 12 : 12, class: "pd-wire-label", "text-anchor": "middle" });
    above.textContent = narrow ? "KV" : `KV over ${answer.transport}`;
    parts.push(above);
    if (bundled && !narrow) {
      const below = svg("text", { x: middle, y: (from.middle + to.middle) / 2 + 22, class: "pd-wire-label", "text-anchor": "middle" });
      below.textContent = `${of("prefill").length} × ${of("decode").length} pairs`;
      parts.push(below);
    }
  }
  picture.replaceChildren(...parts);
  const told = ({ name, own }) => (own ? `${name} (${sizeWords(own)}; ${own.ranks.slice(0, 16).map((rank) => rankWords(rank, own.sizes)).join("; ")})` : name);
  const words = hosts.slice(0, 20).map((host) => `${host.name}: ${host.workers.map(told).join(", ") || "nothing"}`);
  const rest = hosts.length > 20 ? `, and ${hosts.length - 20} more hosts` : "";
  picture.setAttribute("aria-label", `Who runs where. ${words.join("; ")}${rest}. ${pairs > 0 ? `KV travels between ${pairs} pairs.` : ""}${images.length > 0 ? " Encoders send what they made of images." : ""}`);
}

export function planPicture() {
  const picture = svg("svg", { role: "img", class: "pd-plan-picture-svg" });
  const node = el("div", { class: "pd-plan-picture", tabindex: "0", role: "group", "aria-label": "Picture of the plan", "data-testid": "plan-picture" }, picture);
  let answer = null;
  function redraw() {
    if (answer && node.clientWidth > 0) draw(picture, answer, node.clientWidth < NARROW_PX);
  }
  let width = 0;
  new ResizeObserver(() => {
    if (node.clientWidth === width) return;
    width = node.clientWidth;
    redraw();
  }).observe(node);
  return {
    node,
    update(next, stale) {
      setAttribute(node, "data-stale", stale);
      if (next === answer) return;
      answer = next;
      redraw();
    },
  };
}
