// The picture of a run: router, prefill and decode workers, and what flows between them now.

import { setAttribute, setText, svg } from "./dom.js";
import { number, stateLabel } from "./format.js";
import { store } from "./store.js";

const BOX = { width: 150, height: 46 };
// Between columns of a wide picture and rows of a narrow one; `side` is between boxes of one role.
const GAP = { wide: 130, narrow: 46, side: 16 };
const NARROW_PX = 520;
const KV_KEY = (from, to) => `link/${from}>${to}/kv_bytes_per_s`;

function columns(run) {
  const of = (role) => run.processes.filter((process) => process.role === role);
  const found = [of("router"), of("prefill"), of("decode"), of("unified")];
  return found.filter((column) => column.length > 0);
}

/** Where each process stands: roles from left to right, or from top to bottom where the page is narrow. */
function place(run, narrow) {
  const all = columns(run);
  const most = Math.max(1, ...all.map((column) => column.length));
  const [along, across] = narrow ? ["height", "width"] : ["width", "height"];
  const step = BOX[along] + (narrow ? GAP.narrow : GAP.wide);
  const next = BOX[across] + GAP.side;
  const places = new Map();
  all.forEach((column, depth) => {
    column.forEach((process, number) => {
      const forward = depth * step + 1;
      const aside = ((most - column.length) / 2 + number) * next + 1;
      const [x, y] = narrow ? [aside, forward] : [forward, aside + 12];
      places.set(process.name, { process, x, y });
    });
  });
  const length = all.length * step - (step - BOX[along]) + 2;
  const breadth = most * next - GAP.side + 2;
  return { places, width: narrow ? breadth : length, height: narrow ? length : breadth + 14 };
}

function line(from, to, kind, narrow) {
  const [x1, y1] = narrow ? [from.x + BOX.width / 2, from.y + BOX.height] : [from.x + BOX.width, from.y + BOX.height / 2];
  const [x2, y2] = narrow ? [to.x + BOX.width / 2, to.y] : [to.x, to.y + BOX.height / 2];
  const d = narrow
    ? `M${x1} ${y1} C${x1} ${(y1 + y2) / 2} ${x2} ${(y1 + y2) / 2} ${x2} ${y2}`
    : `M${x1} ${y1} C${(x1 + x2) / 2} ${y1} ${(x1 + x2) / 2} ${y2} ${x2} ${y2}`;
  return svg("path", { d, class: `pd-wire pd-wire-${kind}` });
}

export function topology() {
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
    const { places, width, height } = place(run, narrow);
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    picture.style.maxWidth = `${width}px`;
    picture.replaceChildren();
    boxes = new Map();
    wires = [];
    const router = [...places.values()].find((spot) => spot.process.role === "router");
    if (router) {
      for (const spot of places.values()) {
        if (["prefill", "unified"].includes(spot.process.role)) picture.append(line(router, spot, "request", narrow));
      }
    }
    const labels = [];
    for (const [from, to] of run.links) {
      const [start, end] = [places.get(from), places.get(to)];
      if (!start || !end) continue;
      const wire = line(start, end, "kv", narrow);
      picture.append(wire);
      wires.push({ wire, key: KV_KEY(from, to) });
    }
    if (wires.length > 0) {
      // One label for all links: at their middle the lines cross, and a label on each would cover the next.
      const from = places.get(run.links[0][0]);
      const at = narrow
        ? { x: width - 2, y: from.y + BOX.height + GAP.narrow / 2 + 4, "text-anchor": "end" }
        : { x: from.x + BOX.width + GAP.wide / 2, y: 12, "text-anchor": "middle" };
      const label = svg("text", { ...at, class: "pd-wire-label" });
      labels.push(label);
    }
    picture.append(...labels);
    for (const [name, spot] of places) {
      const state = svg("text", { x: 14, y: 35, class: "pd-node-state" });
      const group = svg(
        "g",
        { transform: `translate(${spot.x} ${spot.y})`, class: "pd-node", "data-role": spot.process.role },
        svg("rect", { width: BOX.width, height: BOX.height, rx: 8 }),
        svg("rect", { width: 4, height: BOX.height - 16, x: 0, y: 8, rx: 2, class: "pd-node-mark" }),
        svg("text", { x: 14, y: 19, class: "pd-node-name" }),
        state,
      );
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
      const wanted = `${narrow} `.concat(run.processes.map((process) => process.name).join(" "));
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
      const names = run.processes.map((process) => `${process.name} ${stateLabel(process.state)}`);
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
