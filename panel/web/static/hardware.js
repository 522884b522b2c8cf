// The Hardware tab: which GPUs and NICs are here, which NIC each GPU should use, what is broken, what flows where.

import { sentence } from "./actions.js";
import { copyButton, saveButton } from "./clipboard.js";
import { el, isVisible, setAttribute, setText } from "./dom.js";
import { bytes, clock } from "./format.js";
import { cellNodes, sign, useSigns } from "./host-cells.js";
import { findingsCard } from "./host-findings.js";
import { hostPicture } from "./host-picture.js";
import { tableCard, unseenTable } from "./host-tables.js";
import { fillLive, outage } from "./host-traffic.js";
import { store } from "./store.js";

const MOST_BYTES = 64 * 1024 * 1024;
const WIDE_PX = 800;

/** A file's name that any system takes. */
function fileName(host, ending) {
  return `${(host.document.host?.name ?? "host").replaceAll(/[^\w.-]+/g, "_")}.${ending}`;
}

/** The names of the links whose sum says how busy the host is: its RDMA ports, or its interfaces where it has none. */
function mainLinks({ nics = [], host = {} }) {
  const ports = nics.flatMap((nic) => (nic.ports ?? []).map((port) => `${nic.name}:${port.port}`));
  if (ports.length > 0) return { what: "RDMA traffic now", links: ports, kind: "ports" };
  return { what: "Traffic now, over TCP", links: (host.netdevs ?? []).filter(({ operstate }) => operstate !== "down").map(({ name }) => name), kind: "interfaces" };
}

function tiles(host) {
  const traffic = el("dd", { class: "pd-fact", "data-testid": "traffic-now" }, "–");
  const rate = el("dd", { class: "pd-hint pd-hw-rate" });
  const { what, links, kind } = mainLinks(host.document);
  const node = el("dl", { class: "pd-tiles pd-hw-tiles", "data-testid": "hardware-summary" },
    ...host.summary.map((one) =>
      el("div", { class: "pd-tile" }, el("dt", {}, one.label), el("dd", { class: "pd-fact pd-hw-signed" }, one.sign ? sign(one.sign) : null, el("span", {}, one.value)))),
    host.live ? el("div", { class: "pd-tile" }, el("dt", {}, what), traffic, rate) : null);
  return {
    node,
    flow() {
      const none = outage();
      const known = none ? [] : links.map((key) => store.host.links.get(key)).filter((link) => link && link.tx_bytes_per_s !== null && link.rx_bytes_per_s !== null);
      const sum = (way) => known.reduce((total, link) => total + link[way], 0);
      setText(traffic, known.length === 0 ? "–" : `↑ ${bytes(sum("tx_bytes_per_s"))}/s ↓ ${bytes(sum("rx_bytes_per_s"))}/s`);
      const ofAll = known.length < links.length ? `${known.length} of ${links.length} ${kind}, ` : "";
      setText(rate, none || `${ofAll}${store.host.rateHz.toFixed(1)} samples/s`);
    },
  };
}

function facts(host) {
  return el("section", { class: "pd-card" }, el("h3", {}, "Host"),
    el("dl", { class: "pd-hw-facts" }, ...host.facts.map(({ label, value }) => el("div", {}, el("dt", {}, label), el("dd", {}, ...cellNodes(value))))));
}

export function hardware(island) {
  const own = el("button", { type: "button", class: "pd-button", "aria-pressed": "true" }, "This host");
  const open = el("button", { type: "button", class: "pd-button", "aria-pressed": "false" }, "Open a dump or topology file …");
  const file = el("input", { type: "file", hidden: true, "aria-label": "Dump or topology file", "data-testid": "hardware-file" });
  const again = el("button", { type: "button", class: "pd-button" }, "Look again");
  const busy = el("progress", { class: "pd-hw-progress", "aria-label": "Reading", hidden: true });
  const state = el("span", { class: "pd-hint", role: "status", "data-testid": "hardware-state" });
  const label = el("p", { class: "pd-notice pd-hw-label", role: "status", "data-testid": "hardware-label", hidden: true });
  const outcome = el("p", { class: "pd-outcome", role: "alert", "data-tone": "bad" });
  const content = el("div", { class: "pd-stack", "data-testid": "hardware" });
  let shown = null;
  let chosen = null;
  let views = null;
  let reading = null;

  const saves = [
    copyButton("Copy issue report", () => shown.report, { title: "The host and its findings as Markdown" }),
    saveButton("Save probe JSON", "application/json", () => fileName(shown, "json"), () => JSON.stringify(shown.document, null, 2)),
    saveButton("Save picture", "image/svg+xml", () => fileName(shown, "svg"), () => shown.svg),
  ];
  island.append(
    el("div", { class: "pd-stack" },
      el("div", { class: "pd-toolbar pd-hw-toolbar" },
        el("div", { class: "pd-segments", role: "group", "aria-label": "Whose hardware" }, own, open), file, again, busy, state,
        el("div", { class: "pd-actions pd-hw-saves" }, ...saves)),
      label, outcome, content));

  /** Draws the picture for the room there is; only a change of the arrangement draws it anew. */
  function arrange() {
    if (!shown || !views || island.clientWidth === 0) return;
    const narrow = island.clientWidth < WIDE_PX;
    if (views.narrow === narrow) return;
    views.narrow = narrow;
    views.picture = hostPicture(narrow ? shown.narrow : shown.picture, shown.details, shown.live);
    views.place.replaceChildren(views.picture.node);
    flow();
  }

  function flow() {
    if (!shown?.live || !views || !isVisible(island)) return;
    views.tiles.flow();
    views.picture?.flow();
    fillLive(views.tables);
  }

  function showButton(subject) {
    if (!shown.details[subject]) return null;
    const show = () => {
      views.picture?.node.scrollIntoView({ block: "nearest" });
      views.picture?.focus(subject);
    };
    return el("button", { type: "button", class: "pd-hw-show", "aria-label": `Show ${subject} in the picture`, on: { click: show } }, "Show");
  }

  function draw(host) {
    shown = host;
    useSigns(host.signs);
    const place = el("div", { class: "pd-hw-place" });
    const legend = el("p", { class: "pd-hint" }, "Point at a device, or reach it with Tab and the arrow keys, to see its NICs and values.");
    const [chosenNics, numa, ...others] = host.tables;
    // What is not here takes little room, beside what is.
    const [empty, full] = [others.filter(({ rows }) => rows.length === 0), others.filter(({ rows }) => rows.length > 0)];
    const tables = el("div", { class: "pd-hw-tables" },
      el("div", { class: "pd-stack" }, facts(host), tableCard(numa)),
      el("div", { class: "pd-stack" }, ...[chosenNics, ...empty].map(tableCard)),
      ...full.map(tableCard));
    views = { tiles: tiles(host), place, tables, picture: null, narrow: null };
    content.replaceChildren(
      views.tiles.node,
      el("div", { class: "pd-hw-main" },
        el("section", { class: "pd-card pd-hw-picture" }, el("div", {}, el("h3", {}, host.picture.title), el("p", { class: "pd-hint" }, host.picture.description)),
          place, legend, unseenTable(host.picture.boxes, host.details)),
        findingsCard(host.findings, host.document.notes ?? [], showButton)),
      tables,
    );
    label.hidden = host.label === "this host";
    setText(label, host.label === "this host" ? "" : `You look at a ${host.label}.`);
    arrange();
    flow();
  }

  /** Shows what `ask(signal)` answers; a later question wins over one that is still open. */
  async function read(words, ask) {
    reading?.abort();
    const question = new AbortController();
    reading = question;
    setText(state, words);
    setText(outcome, "");
    busy.hidden = false;
    setAttribute(content, "aria-busy", "true");
    let told = "";
    try {
      const response = await ask(question.signal);
      if (!response.ok) throw new Error(await sentence(response));
      const host = await response.json();
      if (reading === question) draw(host);
      told = `Looked at ${clock(store.now())}`;
    } catch (error) {
      if (reading === question) setText(outcome, error instanceof TypeError ? "The panel does not answer; is it still running?" : error.message);
    } finally {
      if (reading === question) {
        busy.hidden = true;
        setText(state, told);
        content.removeAttribute("aria-busy");
        own.setAttribute("aria-pressed", String(chosen === null));
        open.setAttribute("aria-pressed", String(chosen !== null));
        for (const button of saves) button.disabled = shown === null;
      }
    }
  }

  function look() {
    if (chosen === null) return read("Looking at the host …", (signal) => fetch("/api/hardware", { cache: "no-store", signal }));
    const { name, size } = chosen;
    if (size > MOST_BYTES) {
      setText(outcome, `${name} has ${bytes(size)}, more than the 64 MiB that the panel takes; read it with pdpanel probe --root.`);
      return undefined;
    }
    const post = (signal) =>
      fetch(`/api/hardware/inspect?name=${encodeURIComponent(name)}`, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: chosen, signal });
    return read(`Reading ${name} (${bytes(size)}) …`, post);
  }

  own.addEventListener("click", () => {
    chosen = null;
    look();
  });
  open.addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    if (file.files.length === 0) return;
    chosen = file.files[0];
    // The same file chosen again is a change, too.
    file.value = "";
    look();
  });
  again.addEventListener("click", look);
  for (const button of saves) button.disabled = true;
  new ResizeObserver(arrange).observe(island);
  store.on(["host", "live", "runs"], flow);
  setInterval(flow, 1000);
  look();
}
