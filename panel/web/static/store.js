// What the page knows: runs, samples of the selected run, and the connection. Views listen, nobody else writes.

import { Frame } from "./frame.js";
import { Channel } from "./socket.js";

// Rows of a window that are kept as they come; beyond, older ones become means.
const POINTS = 600;
const LONGEST_S = 3600;
// How many of the last packets tell the difference of the clocks: the one that travelled shortest.
const SKEWS = 20;
const ACTIVE = new Set(["starting", "ready", "degraded", "stopping"]);

class Store extends EventTarget {
  runs = new Map();
  selected = null;
  chosen = false;
  series = [];
  /** Groups that the run has, wanted or not. */
  groups = new Set();
  frame = new Frame();
  version = "";
  windowS = 300;
  /** Who wants which groups of series, by name. */
  needs = new Map([["page", ["kv"]]]);
  told = "";
  ticks = 0;
  live = { state: "connecting", waitMs: 0 };
  skews = [];
  trouble = "";
  /** Nothing of what is told was measured on this host. */
  simulated = false;
  /** The newest sample of the host's links; `at` is null before there is one. */
  host = { at: null, rateHz: 0, links: new Map() };

  connect() {
    this.channel = new Channel("/api/live", {
      beats: true,
      onMessage: (packets) => {
        for (const packet of packets) this.take(packet);
      },
      onOpen: () => {
        // The clocks may have moved while there was no connection, and the server knows nothing of what was told before.
        this.skews = [];
        this.told = "";
        this.tellSelection();
      },
      onState: (state, waitMs = 0) => {
        if (state === this.live.state) return;
        // A retry is not news: the chip keeps saying that there is no connection until there is one.
        if (state === "connecting" && this.live.state !== "connecting") return;
        this.live = { state, waitMs };
        this.emit("live");
      },
    });
  }

  emit(kind) {
    this.dispatchEvent(new Event(kind));
  }

  on(kinds, listener) {
    for (const kind of kinds) this.addEventListener(kind, listener);
    listener();
  }

  /** The server's time; of the last differences the largest, since a packet that waited tells an old time. */
  now() {
    return Date.now() / 1000 + (this.skews.length > 0 ? Math.max(...this.skews) : 0);
  }

  /** Where a chart ends: now, or where the samples of a run end that has ended. */
  edge() {
    const run = this.run();
    const last = this.frame.times.at(-1);
    return run && !this.isActive(run) && last !== undefined ? last : this.now();
  }

  /** Newest first. */
  list() {
    return [...this.runs.values()].sort((left, right) => right.created_s - left.created_s);
  }

  isActive(run) {
    return ACTIVE.has(run.state);
  }

  run() {
    return this.selected === null ? null : (this.runs.get(this.selected) ?? null);
  }

  choose(id) {
    this.chosen = true;
    this.select(id);
  }

  select(id) {
    if (id === this.selected) return;
    this.selected = id;
    this.clear();
    this.tellSelection();
    this.emit("selected");
    this.emit("samples");
  }

  clear() {
    this.series = [];
    this.groups = new Set();
    this.frame = new Frame();
    this.version = "";
  }

  /** Says which groups of series a part of the page shows; none takes its wish back. */
  want(name, groups) {
    if (groups.length > 0) this.needs.set(name, groups);
    else this.needs.delete(name);
    this.tellSelection();
  }

  /** How many seconds of the past the page shows. */
  setWindow(seconds) {
    this.windowS = Math.min(LONGEST_S, seconds);
    this.tellSelection();
  }

  tellSelection() {
    const wish = { select: this.selected, groups: [...new Set([...this.needs.values()].flat())].sort(), window_s: this.windowS };
    const text = JSON.stringify(wish);
    if (text === this.told || !this.channel?.say(wish)) return;
    this.told = text;
  }

  take(packet) {
    // A sample of the host was taken before it was sent, so it does not tell the server's time.
    if (packet.at && packet.type !== "host") {
      this.skews.push(packet.at - Date.now() / 1000);
      if (this.skews.length > SKEWS) this.skews.shift();
    }
    if (packet.type === "snapshot") {
      this.simulated = packet.simulated === true;
      this.runs = new Map(packet.runs.map((run) => [run.id, run]));
      this.tookRuns();
    } else if (packet.type === "runs") {
      const had = this.trouble;
      this.trouble = "";
      for (const run of packet.runs) this.runs.set(run.id, run);
      for (const patch of packet.patches) this.patch(patch);
      for (const id of packet.gone) this.runs.delete(id);
      if (had || packet.runs.length + packet.patches.length + packet.gone.length > 0) this.tookRuns();
    } else if (packet.type === "trouble") {
      this.trouble = packet.reason;
      this.emit("runs");
    } else if (packet.type === "host") {
      this.takeHost(packet);
    } else if (packet.run === this.selected) {
      this.takeSamples(packet);
    }
  }

  tookRuns() {
    if (!this.chosen || !this.runs.has(this.selected)) {
      const runs = this.list();
      const best = runs.find((run) => this.isActive(run)) ?? runs[0] ?? null;
      this.chosen = false;
      this.select(best ? best.id : null);
    }
    this.emit("runs");
  }

  /** Puts what changed of a run into a new value of it, so that whoever holds the old one sees the difference. */
  patch({ id, set, processes }) {
    const run = this.runs.get(id);
    if (!run) return;
    const next = { ...run, ...set, processes: [...run.processes] };
    for (const [place, fields] of processes) next.processes[place] = { ...next.processes[place], ...fields };
    this.runs.set(id, next);
  }

  takeSamples(packet) {
    if (packet.type === "history") {
      this.version = packet.version;
      this.series = packet.series;
      this.groups = new Set(packet.groups);
      this.frame = Frame.of(packet);
    } else if (packet.version !== this.version) return;
    else for (const row of packet.rows) this.frame.apply(row);
    const step = this.windowS > POINTS / 2 ? this.windowS / POINTS : 0;
    this.frame.keep(this.edge() - this.windowS * 1.1, step, POINTS);
    this.ticks += 1;
    this.emit("samples");
  }

  takeHost(packet) {
    const links = packet.whole ? new Map() : this.host.links;
    for (const key of packet.gone) links.delete(key);
    for (const [key, [tx, rx, source, reason]] of Object.entries(packet.links)) {
      const before = links.get(key) ?? { source: "", reason: "" };
      links.set(key, { tx_bytes_per_s: tx, rx_bytes_per_s: rx, source: source ?? before.source, reason: reason ?? before.reason });
    }
    this.host = { at: packet.at, rateHz: packet.rate_hz, links };
    this.emit("host");
  }

  /** Rows as [time, {key: value}]: for tests and consoles, views draw `frame`. */
  get rows() {
    return this.frame.rows();
  }

  /** The newest value of a series, or null. */
  lastValue(key) {
    return this.frame.latest(key);
  }

  /** The value of the newest row, or null when that row lacks it: what a "now" display may show. */
  nowValue(key) {
    return this.frame.newest(key);
  }
}

export const store = new Store();
