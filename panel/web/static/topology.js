// The picture of a run: router, prefill and decode workers, and what flows between them now.

import { setText, svg } from "./dom.js";
import { number, stateLabel } from "./format.js";
import { store } from "./store.js";

const BOX = { width: 150, height: 46, gapX: 130, gapY: 16 };
const KV_KEY = (from, to) => `link/${from}>${to}/kv_bytes_per_s`;

function columns(run) {
  const of = (role) => run.processes.filter((process) => process.role === role);
  const found = [of("router"), of("prefill"), of("decode"), of("unified")];
  return found.filter((column) => column.length > 0);
}

function place(run) {
  const all = columns(run);
  const tallest = Math.max(1, ...all.map((column) => column.length));
  const height = tallest * (BOX.height + BOX.gapY) + 8;
  const places = new Map();
  all.forEach((column, x) => {
    const top = (height - column.length * (BOX.height + BOX.gapY) + BOX.gapY) / 2;
    column.forEach((process, y) => {
      places.set(process.name, {
        process,
        x: x * (BOX.width + BOX.gapX) + 1,
        y: top + y * (BOX.height + BOX.gapY),
      });
    });
  });
  return { places, width: all.length * (BOX.width + BOX.gapX) - BOX.gapX + 2, height };
}

function line(from, to, kind) {
  const x1 = from.x + BOX.width;
  const y1 = from.y + BOX.height / 2;
  const y2 = to.y + BOX.height / 2;
  const bend = (to.x - x1) / 2;
  return svg("path", {
    d: `M${x1} ${y1} C${x1 + bend} ${y1} ${to.x - bend} ${y2} ${to.x} ${y2}`,
    class: `pd-wire pd-wire-${kind}`,
  });
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
  let current = null;
  let boxes = new Map();
  let wires = [];

  function draw(run) {
    const { places, width, height } = place(run);
    picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
    picture.style.maxWidth = `${width}px`;
    picture.replaceChildren();
    boxes = new Map();
    wires = [];
    const router = [...places.values()].find((spot) => spot.process.role === "router");
    if (router) {
      for (const spot of places.values()) {
        if (["prefill", "unified"].includes(spot.process.role)) picture.append(line(router, spot, "request"));
      }
    }
    const labels = [];
    for (const [from, to] of run.links) {
      const [start, end] = [places.get(from), places.get(to)];
      if (!start || !end) continue;
      const wire = line(start, end, "kv");
      picture.append(wire);
      wires.push({ wire, key: KV_KEY(from, to) });
    }
    if (wires.length > 0) {
      // One label for all links: at their middle the lines cross, and a label on each would cover the next.
      const x = places.get(run.links[0][0]).x + BOX.width + BOX.gapX / 2;
      const label = svg("text", { x, y: 12, class: "pd-wire-label", "text-anchor": "middle" });
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

  return {
    node,
    update(run) {
      current = run;
      const wanted = run.processes.map((process) => process.name).join(" ");
      if (wanted !== shape) {
        shape = wanted;
        draw(run);
      }
      for (const process of run.processes) {
        const box = boxes.get(process.name);
        if (!box) continue;
        setText(box.state, stateLabel(process.state));
        box.group.dataset.state = process.state;
      }
      const names = run.processes.map((process) => `${process.name} ${stateLabel(process.state)}`);
      picture.setAttribute("aria-label", `How the run is wired: ${names.join(", ")}`);
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
}
