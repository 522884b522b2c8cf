// What the page knows: runs, samples of the selected run, and the connection. Views listen, nobody else writes.

import { Channel } from "./socket.js";

const KEPT_S = 3700;
const ACTIVE = new Set(["starting", "ready", "degraded", "stopping"]);

class Store extends EventTarget {
  runs = new Map();
  selected = null;
  chosen = false;
  series = [];
  rows = [];
  ticks = 0;
  live = { state: "connecting", waitMs: 0 };
  skewS = 0;
  trouble = "";
  /** The newest sample of the host's links; `at` is null before there is one. */
  host = { at: null, rateHz: 0, links: new Map() };

  connect() {
    this.channel = new Channel("/api/live", {
      beats: true,
      onMessage: (packet) => this.take(packet),
      onOpen: () => this.tellSelection(),
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

  now() {
    return Date.now() / 1000 + this.skewS;
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
    this.series = [];
    this.rows = [];
    this.tellSelection();
    this.emit("selected");
    this.emit("samples");
  }

  tellSelection() {
    this.channel?.say({ select: this.selected });
  }

  take(packet) {
    // A sample of the host was taken before it was sent, so it does not tell the server's time.
    if (packet.at && packet.type !== "host") this.skewS = packet.at - Date.now() / 1000;
    if (packet.type === "snapshot") {
      this.runs = new Map(packet.runs.map((run) => [run.id, run]));
      this.tookRuns();
    } else if (packet.type === "runs") {
      const had = this.trouble;
      this.trouble = "";
      for (const run of packet.runs) this.runs.set(run.id, run);
      for (const id of packet.gone) this.runs.delete(id);
      if (had || packet.runs.length > 0 || packet.gone.length > 0) this.tookRuns();
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

  takeSamples(packet) {
    this.series = packet.series;
    if (packet.type === "history") this.rows = packet.rows;
    else {
      const last = this.rows.at(-1)?.[0] ?? 0;
      for (const row of packet.rows) if (row[0] > last) this.rows.push(row);
    }
    const oldest = this.now() - KEPT_S;
    let drop = 0;
    while (drop < this.rows.length && this.rows[drop][0] < oldest) drop += 1;
    if (drop > 0) this.rows.splice(0, drop);
    this.ticks += 1;
    this.emit("samples");
  }

  takeHost(packet) {
    const links = packet.whole ? new Map() : this.host.links;
    for (const key of packet.gone) links.delete(key);
    for (const [key, link] of Object.entries(packet.links)) links.set(key, link);
    this.host = { at: packet.at, rateHz: packet.rate_hz, links };
    this.emit("host");
  }

  /** The newest value of a series, or null. */
  lastValue(key) {
    for (let index = this.rows.length - 1; index >= 0; index -= 1) {
      const value = this.rows[index][1][key];
      if (value !== undefined) return value;
    }
    return null;
  }

  /** The value of the newest row, or null when that row lacks it: what a "now" display may show. */
  nowValue(key) {
    return this.rows.at(-1)?.[1][key] ?? null;
  }
}

export const store = new Store();
