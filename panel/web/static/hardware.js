// The Hardware tab: which GPUs and NICs are here, which NIC each GPU should use, what is broken, what flows where.

import { sentence } from "./actions.js";
import { url } from "./base.js";
import { copyButton, saveButton } from "./clipboard.js";
import { el, isVisible, setAttribute, setText } from "./dom.js";
import { bytes, clock } from "./format.js";
import { cellNodes, sign, useSigns } from "./host-cells.js";
import { findingsCard } from "./host-findings.js";
import { hostPicture } from "./host-picture.js";
import { tableCard, unseenTable } from "./host-tables.js";
import { fillLive, outage } from "./host-traffic.js";
import { store } from "./store.js";

const MOST_BYTES = 64e6;
const WIDE_PX = 800;
const MOST_SHOWN = 4;

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
  /** The file that the shown host is from, null for this host. */
  let from = null;
  let views = null;
  let reading = null;
  /** True when the panel did not answer at all: the question is asked again once it does. */
  let unanswered = false;

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

  /** A button for each of the first devices that a finding's subject names. */
  function showButtons(subject) {
    const words = subject.split(/[\s,;()]+/);
    const names = [...new Set(shown.details[subject] ? [subject] : words.filter((word) => Object.hasOwn(shown.details, word)))];
    const show = (name) => {
      views.picture?.node.scrollIntoView({ block: "nearest" });
      views.picture?.focus(name);
    };
    return names.slice(0, MOST_SHOWN).map((name) =>
      el("button", { type: "button", class: "pd-hw-show", "aria-label": `Show ${name} in the picture`, on: { click: () => show(name) } }, names.length > 1 ? `Show ${name}` : "Show"));
  }

  function draw(host) {
    shown = host;
    useSigns(host.signs);
    const place = el("div", { class: "pd-hw-place" });
    const legend = el("p", { class: "pd-hint" }, "Point at a device, or reach it with Tab and the arrow keys, to see its NICs and values.");
    const [chosenNics, numa, ...others] = host.tables;
    // What is not here takes little room, beside what is.
    const [empty, full] = [others.filter(({ rows }) => rows.length === 0), others.filter(({ rows }) => rows.length > 0)];
    const brief = el("div", { class: "pd-hw-brief" },
      el("div", { class: "pd-stack" }, facts(host), tableCard(numa)),
      el("div", { class: "pd-stack" }, ...[chosenNics, ...empty].map(tableCard)));
    const tables = el("div", { class: "pd-hw-tables" }, ...full.map(tableCard));
    views = { tiles: tiles(host), place, tables, picture: null, narrow: null };
    content.replaceChildren(
      views.tiles.node,
      // What is broken comes first where there is no room beside the picture.
      el("div", { class: "pd-hw-main" },
        findingsCard(host.findings, host.document.notes ?? [], showButtons),
        el("section", { class: "pd-card pd-hw-picture" }, el("div", {}, el("h3", {}, host.picture.title), el("p", { class: "pd-hint" }, host.picture.description)),
          place, legend, unseenTable(host.picture.boxes, host.details)),
        brief),
      tables,
    );
    label.hidden = host.label === "this host";
    setText(label, host.label === "this host" ? "" : `You look at a ${host.label}.`);
    arrange();
    flow();
  }

  function press(source) {
    own.setAttribute("aria-pressed", String(source === null));
    open.setAttribute("aria-pressed", String(source !== null));
  }

  /** Shows what `ask(signal)` answers of the host in `source`; a later question wins over one that is still open. */
  async function read(source, words, ask) {
    reading?.abort();
    const question = new AbortController();
    reading = question;
    unanswered = false;
    press(source);
    setText(state, words);
    setText(outcome, "");
    busy.hidden = false;
    setAttribute(content, "aria-busy", "true");
    let told = "";
    try {
      const response = await ask(question.signal);
      if (!response.ok) throw new Error(await sentence(response));
      const host = await response.json();
      if (reading === question) {
        from = source;
        draw(host);
      }
      told = `Looked at ${clock(store.now())}`;
    } catch (error) {
      if (reading === question) {
        unanswered = error instanceof TypeError && source === null;
        setText(outcome, error instanceof TypeError ? "The panel does not answer; is it still running?" : error.message);
      }
    } finally {
      if (reading === question) {
        busy.hidden = true;
        setText(state, told);
        content.removeAttribute("aria-busy");
        // After a failure the host that was shown before still is.
        press(from);
        for (const button of saves) button.disabled = shown === null;
      }
    }
  }

  /** Looks at the host in the file `source`, or at this host when it is null. */
  function look(source) {
    if (source === null) return read(null, "Looking at the host …", (signal) => fetch(url("/api/hardware"), { cache: "no-store", signal }));
    const { name, size } = source;
    const post = async (signal) => {
      if (size > MOST_BYTES) throw new Error(`${name} has ${bytes(size)}, more than the ${bytes(MOST_BYTES)} that the panel takes; read it with pdpanel probe --root.`);
      try {
        await source.slice(0, 1).arrayBuffer();
      } catch {
        throw new Error(`${name} changed or is gone since it was chosen; choose it again.`);
      }
      return fetch(url(`/api/hardware/inspect?name=${encodeURIComponent(name)}`), { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: source, signal });
    };
    return read(source, `Reading ${name} (${bytes(size)}) …`, post);
  }

  own.addEventListener("click", () => look(null));
  open.addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    if (file.files.length === 0) return;
    const source = file.files[0];
    // The same file chosen again is a change, too.
    file.value = "";
    look(source);
  });
  again.addEventListener("click", () => look(from));
  for (const button of saves) button.disabled = true;
  new ResizeObserver(arrange).observe(island);
  store.on(["host", "live", "runs"], flow);
  store.on(["live"], () => {
    if (unanswered && store.live.state === "live") look(null);
  });
  setInterval(flow, 1000);
  look(null);
}
