// What all charts of Observe share: window, pause, zoom, the cursor's time, and the frame of samples that they draw.

import { store } from "./store.js";

const SHORTEST_S = 60;

export class Timebase extends EventTarget {
  windowS = 300;
  zoom = null;
  /** The time under the cursor or the arrow keys; null for now. */
  at = null;
  held = null;
  /** A past that was asked for: {frame, series, from, to}; null while live. */
  past = null;

  emit(kind) {
    this.dispatchEvent(new Event(kind));
  }

  on(kinds, listener) {
    for (const kind of kinds) this.addEventListener(kind, listener);
  }

  get frame() {
    return this.past?.frame ?? this.held?.frame ?? store.frame;
  }

  get series() {
    return this.past?.series ?? this.held?.series ?? store.series;
  }

  get paused() {
    return this.held !== null;
  }

  /** Holds the picture; samples are still taken. */
  pause(held) {
    this.held = held ? { frame: store.frame.copy(), series: store.series, edge: store.edge() } : null;
    this.emit("view");
  }

  setZoom(range) {
    this.zoom = range;
    this.emit("view");
  }

  setWindow(seconds, past = null) {
    this.windowS = seconds;
    this.past = past;
    this.zoom = null;
    this.at = null;
    this.emit("view");
  }

  setAt(time) {
    if (time === this.at) return;
    this.at = time;
    this.emit("cursor");
  }

  /** [begin, end] of what is shown. */
  range() {
    if (this.zoom) return this.zoom;
    if (this.past) return [this.past.from, this.past.to];
    const end = this.held?.edge ?? store.edge();
    // A young run fills its chart instead of standing at the right edge.
    const first = this.frame.times[0] ?? end;
    return [Math.max(end - this.windowS, Math.min(first, end - SHORTEST_S)), end];
  }

  /** Narrows or widens around the middle, or around the cursor. */
  scale(factor) {
    const [begin, end] = this.range();
    const middle = this.at ?? (begin + end) / 2;
    const from = middle - (middle - begin) * factor;
    const to = middle + (end - middle) * factor;
    const [first, last] = [this.frame.times[0] ?? begin, this.past?.to ?? store.edge()];
    if (to - from < 1) return;
    this.setZoom(from <= first && to >= last ? null : [from, to]);
  }

  /** Moves the cursor by `rows` of the frame. */
  step(rows) {
    const { times } = this.frame;
    if (times.length === 0) return;
    const here = this.at === null ? times.length - 1 : this.frame.nearest(this.at);
    let next = Math.min(times.length - 1, Math.max(0, here + rows));
    const [begin, end] = this.range();
    while (next < times.length - 1 && times[next] < begin) next += 1;
    while (next > 0 && times[next] > end) next -= 1;
    this.setAt(times[next]);
  }
}
