// The picture of a run: router, encoders, prefill and decode workers with their ranks, and what flows between them now.

import { setAttribute, setText, svg } from "./dom.js";
import { number, stateLabel } from "./format.js";
import { rankCells, rankWords } from "./rank-cells.js";
import { store } from "./store.js";

const PLAIN = { width: 150, height: 46 };
// With a row of cells below the state.
const WITH_RANKS = { width: 150, height: 70 };
const MOST_WRAPPED = 12;
const IS_NODE = /-rank\d+$/;
// Between columns of a wide picture and rows of a narrow one; `side` is between boxes of one role.
const GAP = { wide: 130, narrow: 46, side: 16 };
const NARROW_PX = 520;
// A narrow picture has room for the label beside the wire.
const LEAST_PX = 230;
const KV_KEY = (from, to) => `link/${from}>${to}/kv_bytes_per_s`;

// Each sends to the next ones.
const ROLES = ["router", "encoder", "prefill", "decode", "unified"];

function byRole(run) {
  return ROLES.map((role) => run.processes.filter((process) => process.role === role)).filter((found) => found.length > 0);
}

function columns(run) {
  const found = byRole(run);
  // Encoders send to whoever the router sends to: beside it.
  return found[1]?.[0].role === "encoder" ? [[...found[0], ...found[1]], ...found.slice(2)] : found;
}

/** The rows of a narrow picture: two boxes beside each other can be read, where there are not too many rows. */
function rows(run) {
  return byRole(run).flatMap((found) => {
    if (found.length > MOST_WRAPPED) return [found];
    return Array.from({ length: Math.ceil(found.length / 2) }, (_, row) => found.slice(2 * row, 2 * row + 2));
  });
}

/** Where each process stands: roles from left to right, or from top to bottom where the page is narrow. */
function place(run, narrow, box) {
  const all = narrow ? rows(run) : columns(run);
  const most = Math.max(1, ...all.map((column) => column.length));
  const [along, across] = narrow ? ["height", "width"] : ["width", "height"];
  const step = box[along] + (narrow ? GAP.narrow : GAP.wide);
  const next = box[across] + GAP.side;
  const broad = most * next - GAP.side + 2;
  const margin = narrow ? Math.max(0, LEAST_PX - broad) / 2 : 0;
  const places = new Map();
  all.forEach((column, depth) => {
    column.forEach((process, number) => {
      const forward = depth * step + 1;
      const aside = margin + ((most - column.length) / 2 + number) * next + 1;
      const [x, y] = narrow ? [aside, forward] : [forward, aside + 12];
      places.set(process.name, { process, x, y });
    });
  });
  const length = all.length * step - (step - box[along]) + 2;
  const breadth = broad + 2 * margin;
  return { places, width: narrow ? breadth : length, height: narrow ? length : breadth + 14 };
}

function line(from, to, kind, narrow, box) {
  const [x1, y1] = narrow ? [from.x + box.width / 2, from.y + box.height] : [from.x + box.width, from.y + box.height / 2];
  const [x2, y2] = narrow ? [to.x + box.width / 2, to.y] : [to.x, to.y + box.height / 2];
  const d = narrow
    ? `M${x1} ${y1} C${x1} ${(y1 + y2) / 2} ${x2} ${(y1 + y2) / 2} ${x2} ${y2}`
    : `M${x1} ${y1} C${(x1 + x2) / 2} ${y1} ${(x1 + x2) / 2} ${y2} ${x2} ${y2}`;
  return svg("path", { d, class: `pd-wire pd-wire-${kind}` });
}

/** Between the nodes of one worker, which stand beside each other. */
function tie(from, to, narrow, box) {
  const [x1, y1] = narrow ? [from.x + box.width, from.y + box.height / 2] : [from.x + box.width / 2, from.y + box.height];
  const [x2, y2] = narrow ? [to.x, to.y + box.height / 2] : [to.x + box.width / 2, to.y];
  return svg("path", { d: `M${x1} ${y1} L${x2} ${y2}`, class: "pd-wire pd-wire-group" });
}

/** `ranks` tells what each process's ranks compute; null draws none. */
export function topology(ranks = null) {
  const picture = svg("svg", { role: "img", class: "pd-topology-svg" });
  const node = document.createElement("div");
  node.className = "pd-topology";
  // On a narrow screen the picture scrolls inside its box, which the keyboard must reach.
  node.tabIndex = 0;
  node.setAttribute("role", "group");
  node.setAttribute("aria-label", "Picture of the run");
  node.append(picture);
  let shape = "";
  let room = 0;
  let narrow = false;
  let current = null;
  let boxes = new Map();
  let wires = [];

  function draw(run) {
    const box = run.processes.some(({ name }) => ranks?.of(name)) ? WITH_RANKS : PLAIN;
    const { places, width, height } = place(run, narrow, box);
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    picture.style.maxWidth = `${width}px`;
    picture.replaceChildren();
    boxes = new Map();
    wires = [];
    for (const from of places.values()) {
      const kind = { router: "request", encoder: "image" }[from.process.role];
      if (!kind) continue;
      for (const spot of places.values()) {
        const takes = ["prefill", "unified"].includes(spot.process.role) && !IS_NODE.test(spot.process.name);
        if (takes) picture.append(line(from, spot, kind, narrow, box));
      }
    }
    for (const [name, spot] of places) {
      const first = IS_NODE.test(name) ? places.get(name.replace(IS_NODE, "")) : null;
      if (first) picture.append(tie(first, spot, narrow, box));
    }
    const labels = [];
    for (const [from, to] of run.links) {
      const [start, end] = [places.get(from), places.get(to)];
      if (!start || !end) continue;
      const wire = line(start, end, "kv", narrow, box);
      picture.append(wire);
      wires.push({ wire, key: KV_KEY(from, to) });
    }
    if (wires.length > 0) {
      // One label for all links: at their middle the lines cross, and a label on each would cover the next.
      const [from, to] = run.links[0].map((name) => places.get(name));
      const isStraight = run.links.length === 1 && from.y === to.y;
      const at = narrow
        ? { x: width - 2, y: from.y + box.height + GAP.narrow / 2 + 4, "text-anchor": "end" }
        : { x: from.x + box.width + GAP.wide / 2, y: isStraight ? from.y + box.height / 2 - 10 : 12, "text-anchor": "middle" };
      const label = svg("text", { ...at, class: "pd-wire-label" });
      labels.push(label);
    }
    picture.append(...labels);
    for (const [name, spot] of places) {
      const state = svg("text", { x: 14, y: 35, class: "pd-node-state" });
      const group = svg(
        "g",
        { transform: `translate(${spot.x} ${spot.y})`, class: "pd-node", "data-role": spot.process.role },
        svg("rect", { width: box.width, height: box.height, rx: 8 }),
        svg("rect", { width: 4, height: box.height - 16, x: 0, y: 8, rx: 2, class: "pd-node-mark" }),
        svg("text", { x: 14, y: 19, class: "pd-node-name" }),
        state,
      );
      const own = ranks?.of(name);
      if (own) group.append(rankCells(own.ranks, own.sizes, { x: 14, y: 44, width: box.width - 24 }));
      group.querySelector(".pd-node-name").textContent = name;
      boxes.set(name, { group, state });
      picture.append(group);
    }
  }

  const view = {
    node,
    update(run) {
      current = run;
      narrow = room > 0 ? room < NARROW_PX : narrow;
      const wanted = `${narrow} ${ranks?.key() ?? ""} `.concat(run.processes.map((process) => process.name).join(" "));
      if (wanted !== shape) {
        shape = wanted;
        draw(run);
      }
      for (const process of run.processes) {
        const box = boxes.get(process.name);
        if (!box) continue;
        setText(box.state, stateLabel(process.state));
        setAttribute(box.group, "data-state", process.state);
      }
      const names = run.processes.map(({ name, state }) => {
        const own = ranks?.of(name);
        return `${name} ${stateLabel(state)}${own ? ` (${own.ranks.map((rank) => rankWords(rank, own.sizes)).join("; ")})` : ""}`;
      });
      setAttribute(picture, "aria-label", `How the run is wired: ${names.join(", ")}`);
      this.flow();
    },
    flow() {
      const label = picture.querySelector(".pd-wire-label");
      if (!label || current === null) return;
      const known = current.id === store.selected;
      let total = null;
      for (const { wire, key } of wires) {
        const value = known ? store.nowValue(key) : null;
        wire.classList.toggle("pd-wire-busy", value !== null && value > 0);
        if (value !== null) total = (total ?? 0) + value;
      }
      setText(label, total === null ? "KV" : `KV ${number(total / 1e6)} MB/s`);
    },
  };
  // Asking for the width with each update makes the browser lay out the page in between.
  new ResizeObserver((entries) => {
    room = entries.at(-1).contentRect.width;
    if (current !== null) view.update(current);
  }).observe(node);
  return view;
}
