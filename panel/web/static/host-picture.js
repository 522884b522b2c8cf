// The picture of the host: drawn from the server's coordinates, alive with what travels, open to mouse and keyboard.

import { el, setText, svg } from "./dom.js";
import { detailCard } from "./host-card.js";
import { signParts } from "./host-cells.js";
import { fillLive, fullness, meter, nvlinkMeter, outage, traffic } from "./host-traffic.js";

const DEVICES = new Set(["gpu", "nic", "netdev"]);
const LEAVE_MS = 140;
const MOST_LETTERS = 25;
const ARROWS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

function drawText({ x, y, text, style, anchor }) {
  const node = svg("text", { x, y, class: `pd-h-${style}`, "text-anchor": anchor });
  node.textContent = text;
  return node;
}

function drawMark({ x, y, state }) {
  return svg("g", { transform: `translate(${x} ${y})`, "aria-hidden": "true" }, ...signParts(state));
}

function drawBox(box, meters) {
  const radius = DEVICES.has(box.kind) ? 6 : 10;
  const frame = svg("rect", { x: box.x, y: box.y, width: box.width, height: box.height, rx: radius, class: `pd-h-${box.kind}` });
  const texts = box.texts.map((text) => {
    const node = drawText(text);
    if (text.key) meters.push({ node, key: text.key, still: text.text });
    return node;
  });
  return svg("g", { class: "pd-h-box", "data-kind": box.kind, "data-state": box.state }, frame, ...texts, ...box.marks.map(drawMark));
}

function short(text) {
  return text.length > MOST_LETTERS ? `${text.slice(0, MOST_LETTERS - 1)}…` : text;
}

/** Which device lies next to `from` in a direction: near along it, and not far aside. */
function neighbour(boxes, from, [right, down]) {
  const middle = (box) => [box.x + box.width / 2, box.y + box.height / 2];
  const [x, y] = middle(from);
  let best = null;
  let least = Infinity;
  for (const box of boxes) {
    const [dx, dy] = [middle(box)[0] - x, middle(box)[1] - y];
    const along = dx * right + dy * down;
    if (along <= 1) continue;
    const cost = along + 3 * Math.abs(dx * down + dy * right);
    if (cost < least) [best, least] = [box, cost];
  }
  return best;
}

/** Draws `picture`; `details` are what the card shows of each device. */
export function hostPicture(picture, details, isLive) {
  const drawing = svg("svg", { viewBox: `0 0 ${picture.width} ${picture.height}`, class: "pd-h", role: "group", "aria-label": `${picture.title}. ${picture.description}` });
  drawing.style.setProperty("--pd-h-width", `${picture.width}px`);
  const scroll = el("div", { class: "pd-hw-scroll" }, drawing);
  const node = el("div", { class: "pd-hw-stage", "data-testid": "host-picture" }, scroll);
  const card = detailCard(node, { onClose: (event) => release(event) });
  node.append(card.node);

  const meters = [];
  const devices = picture.boxes.filter((box) => DEVICES.has(box.kind));
  const nodes = new Map();
  const containers = [];
  for (const box of picture.boxes) {
    if (DEVICES.has(box.kind)) continue;
    const drawn = drawBox(box, meters);
    if (box.kind === "numa" || box.kind === "group") containers.push({ box, drawn });
    drawing.append(drawn);
  }
  const wires = picture.lines.map((line) => {
    const wire = svg("path", { d: line.d, class: "pd-h-wire", "data-kind": line.kind, "data-style": line.style, "aria-hidden": "true" });
    drawing.append(wire);
    return { line, wire };
  });
  for (const box of devices) {
    const drawn = drawBox(box, meters);
    drawn.setAttribute("role", "button");
    drawn.setAttribute("aria-label", box.label);
    drawn.setAttribute("aria-pressed", "false");
    drawn.setAttribute("tabindex", nodes.size === 0 ? "0" : "-1");
    drawn.dataset.device = box.id;
    nodes.set(box.id, drawn);
    drawing.append(drawn);
  }
  for (const { line } of wires) {
    if (!line.label) continue;
    const label = svg("text", { x: line.label_x, y: line.label_y + 4, class: "pd-h-label", "aria-hidden": "true" });
    label.textContent = line.label;
    drawing.append(label);
  }
  drawing.append(...picture.texts.map(drawText), ...picture.marks.map(drawMark));

  let pinned = null;
  let leaving = 0;
  let returning = false;
  let resting = null;

  /** The box of the NUMA node that a device stands in. */
  function columnOf(box) {
    const holds = ({ box: one }) => one.x <= box.x && box.x < one.x + one.width && one.y <= box.y && box.y < one.y + one.height;
    return containers.find(holds)?.drawn ?? nodes.get(box.id);
  }

  function light(id) {
    const partners = new Set(id === null ? [] : (details[id]?.partners ?? []));
    drawing.classList.toggle("pd-h-lit", id !== null);
    for (const [name, drawn] of nodes) drawn.classList.toggle("pd-h-on", name === id || partners.has(name));
    for (const { line, wire } of wires) {
      const [here, there] = [line.gpus, line.nics].map((names) => names.includes(id));
      const own = line.kind === "link" ? there || line.nics.some((name) => partners.has(name)) : here || there;
      // A branch of a bus belongs to a device at one of its ends, or leads to a partner.
      const leads = here ? line.nics.some((name) => partners.has(name)) : line.gpus.some((name) => partners.has(name));
      wire.classList.toggle("pd-h-on", id !== null && own && (line.kind === "link" || leads));
    }
  }

  function show(box) {
    clearTimeout(leaving);
    light(box.id);
    if (details[box.id]) card.show(box.id, details[box.id], pinned === box.id, nodes.get(box.id), columnOf(box));
  }

  function rest() {
    const box = devices.find((one) => one.id === pinned);
    if (box) show(box);
    else {
      light(null);
      card.hide();
    }
  }

  function release(event = null) {
    // What lay under the closed card is now under a pointer that did not move: that is no wish to see it.
    resting = event && event.detail > 0 ? [event.clientX, event.clientY] : null;
    const was = pinned;
    pinned = null;
    for (const drawn of nodes.values()) drawn.setAttribute("aria-pressed", "false");
    rest();
    if (was === null) return;
    // The focus goes back to the device, which does not open its card again.
    returning = true;
    nodes.get(was).focus();
    returning = false;
  }

  function pin(box) {
    if (pinned === box.id) {
      release();
      return;
    }
    pinned = box.id;
    for (const [name, drawn] of nodes) drawn.setAttribute("aria-pressed", String(name === pinned));
    show(box);
  }

  function focus(box) {
    for (const [name, drawn] of nodes) drawn.setAttribute("tabindex", name === box.id ? "0" : "-1");
    nodes.get(box.id).focus();
  }

  function leave() {
    clearTimeout(leaving);
    leaving = setTimeout(() => {
      const focused = devices.find((box) => nodes.get(box.id) === document.activeElement && nodes.get(box.id).matches(":focus-visible"));
      if (focused) show(focused);
      else rest();
    }, LEAVE_MS);
  }

  for (const box of devices) {
    const drawn = nodes.get(box.id);
    drawn.addEventListener("pointerenter", (event) => {
      const still = resting && Math.abs(event.clientX - resting[0]) < 2 && Math.abs(event.clientY - resting[1]) < 2;
      if (event.pointerType === "mouse" && !still) show(box);
    });
    drawn.addEventListener("pointerleave", leave);
    drawn.addEventListener("focus", () => {
      if (!returning) show(box);
    });
    drawn.addEventListener("blur", leave);
    drawn.addEventListener("click", () => pin(box));
  }
  node.addEventListener("keydown", (event) => {
    const box = devices.find((one) => nodes.get(one.id) === event.target);
    if (event.key === "Escape" && card.shown !== null) {
      event.stopPropagation();
      if (pinned !== null) release();
      else card.hide();
      light(null);
    } else if (box && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      pin(box);
    } else if (box && event.key in ARROWS) {
      event.preventDefault();
      const next = neighbour(devices, box, ARROWS[event.key]);
      if (next) focus(next);
    } else if (box && (event.key === "Home" || event.key === "End")) {
      event.preventDefault();
      focus(devices.at(event.key === "Home" ? 0 : -1));
    }
  });

  return {
    node,
    devices,
    focus(id) {
      const box = devices.find((one) => one.id === id);
      if (box) focus(box);
    },
    /** Shows what travels now. */
    flow() {
      if (!isLive) return;
      const none = outage();
      for (const { node: text, key, still } of meters) {
        const capacity = wires.find(({ line }) => line.key === key)?.line.capacity_bytes_per_s ?? null;
        const now = traffic(key);
        if (key.startsWith("nvlink ")) {
          setText(text, nvlinkMeter(now) || still);
          continue;
        }
        const silent = none || (now.tx === null && now.rx === null);
        setText(text, none ? still : silent ? short(`– ${now.reason}`) : meter(now, capacity));
      }
      for (const { line, wire } of wires) {
        if (line.kind !== "link") continue;
        const now = traffic(line.key);
        const full = fullness(now, line.capacity_bytes_per_s);
        wire.classList.toggle("pd-h-busy", full > 0);
        wire.classList.toggle("pd-h-inward", (now.rx ?? 0) > (now.tx ?? 0));
        wire.style.setProperty("--pd-h-wide", (3 + 6 * Math.sqrt(full)).toFixed(1));
      }
      if (card.shown !== null) fillLive(card.node);
    },
  };
}
