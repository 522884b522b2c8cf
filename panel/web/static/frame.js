// Samples as columns: times and, for each series, as many values; null is missing. What uPlot draws, without a copy.

const GAP_S = 3;

/** How far apart two samples may be before the line between them is not drawn. */
function gap(stepS) {
  return Math.max(GAP_S, 2.5 * stepS);
}

export class Frame {
  times = [];
  columns = new Map();
  /** The newest row as the server told it, by place in `keys`. */
  base = [];
  /** The largest samples where rows are means, as a frame of its own with the same times; null where nobody tells. */
  peaks = null;
  /** Keys that ever had a value. */
  seen = new Set();

  /** `keys` in the order of the server's columns; `stepS` > 0 where older rows are means over so many seconds. */
  constructor(keys = [], stepS = 0) {
    this.keys = keys;
    this.stepS = stepS;
    this.fine = 0;
    for (const key of keys) this.columns.set(key, []);
  }

  /** A frame of a whole history: `t0` and `apart` in ms, columns that may be one value, and the newest row. */
  static of({ series, step_s, t0, apart, columns, base }) {
    const frame = new Frame(series.map((one) => one.key), step_s);
    const widen = (column, index) => (Array.isArray(column) ? column[index] : (column ?? null));
    let at = t0;
    const times = apart.map((more) => (at += more) / 1000);
    if (apart.every((more, index) => index === 0 || (more > 0 && more / 1000 <= gap(step_s)))) frame.fill(times, columns);
    else times.forEach((time, index) => frame.push(time, columns.map((column) => widen(column, index))));
    frame.base = base;
    frame.fine = frame.times.length;
    return frame;
  }

  /** Adds a row given as [time, [first place, value, ...], ...]: what differs from the row before. */
  apply([time, ...segments]) {
    for (const [first, ...values] of segments) {
      for (let index = 0; index < values.length; index += 1) this.base[first + index] = values[index];
    }
    this.push(time, this.base);
  }

  /** Takes whole columns, each an array or one value, at times that rise without a gap: cheaper than row by row. */
  fill(times, columns) {
    this.times = times;
    this.keys.forEach((key, place) => {
      const column = columns[place] ?? null;
      this.columns.set(key, Array.isArray(column) ? column : new Array(times.length).fill(column));
      if (Array.isArray(column) ? column.some((value) => value !== null) : column !== null) this.seen.add(key);
    });
  }

  push(time, values) {
    // A clock that was put back: what lies in the future now cannot stand before this row.
    while (this.times.length > 0 && this.times.at(-1) >= time) this.cut(this.times.length - 1, 1);
    const last = this.times.at(-1);
    if (last !== undefined && time - last > gap(this.stepS)) this.row(last + 0.001, null);
    this.row(time, values);
  }

  row(time, values) {
    this.times.push(time);
    let place = 0;
    for (const [key, column] of this.columns) {
      const value = values === null ? null : (values[place] ?? null);
      column.push(value);
      if (value !== null) this.seen.add(key);
      place += 1;
    }
  }

  cut(from, count) {
    this.times.splice(from, count);
    for (const column of this.columns.values()) column.splice(from, count);
    this.fine = Math.min(this.fine, from);
  }

  /** Forgets what is older than `oldest`, and joins rows that came one by one to means of `stepS`, the newest minute not. */
  keep(oldest, stepS, most) {
    let drop = 0;
    while (drop < this.times.length && this.times[drop] < oldest) drop += 1;
    // In steps: a splice of every column with each row would cost more than the rows are worth.
    if (drop > 64 || drop === this.times.length) {
      const fine = this.fine - drop;
      this.cut(0, drop);
      this.fine = Math.max(0, fine);
    }
    if (stepS > 0 && this.times.length - this.fine > most) this.join(stepS);
  }

  join(stepS) {
    const end = this.times.at(-1) - 60;
    let from = this.fine;
    let until = from;
    while (until < this.times.length && this.times[until] < end) until += 1;
    const starts = [];
    for (let index = from; index < until; index += 1) {
      const isNew = index === from || Math.floor(this.times[index] / stepS) !== Math.floor(this.times[index - 1] / stepS);
      // A gap's row stays a row of its own.
      if (isNew || this.isGap(index) || this.isGap(index - 1)) starts.push(index);
    }
    const mean = (column, begin, stop) => {
      let sum = 0;
      let count = 0;
      for (let index = begin; index < stop; index += 1) {
        if (column[index] !== null) {
          sum += column[index];
          count += 1;
        }
      }
      return count > 0 ? sum / count : null;
    };
    const stop = (place) => starts[place + 1] ?? until;
    for (const column of this.columns.values()) {
      const means = starts.map((begin, place) => mean(column, begin, stop(place)));
      column.splice(from, until - from, ...means);
    }
    const times = starts.map((begin, place) => this.times[stop(place) - 1]);
    this.times.splice(from, until - from, ...times);
    this.fine = from + starts.length;
    this.stepS = stepS;
  }

  isGap(index) {
    return index > 0 && this.times[index] - this.times[index - 1] < 0.0015;
  }

  column(key) {
    return this.columns.get(key) ?? null;
  }

  /** The value of the newest row, or null when that row lacks it. */
  newest(key) {
    return this.columns.get(key)?.at(-1) ?? null;
  }

  /** The newest value that is there, or null. */
  latest(key) {
    return this.columns.get(key)?.findLast((value) => value !== null) ?? null;
  }

  /** The largest value since `from`, or null. */
  peak(key, from) {
    const column = this.columns.get(key);
    let best = null;
    for (let index = this.times.length - 1; column && index >= 0 && this.times[index] >= from; index -= 1) {
      if (column[index] !== null && (best === null || column[index] > best)) best = column[index];
    }
    return best;
  }

  /** The index of the row nearest to `time`; null for an empty frame. */
  nearest(time) {
    if (this.times.length === 0) return null;
    let low = 0;
    let high = this.times.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.times[middle] < time) low = middle + 1;
      else high = middle;
    }
    return low > 0 && time - this.times[low - 1] <= this.times[low] - time ? low - 1 : low;
  }

  /** A copy that later rows do not change. */
  copy() {
    const twin = new Frame(this.keys, this.stepS);
    twin.times = [...this.times];
    twin.base = [...this.base];
    twin.seen = new Set(this.seen);
    for (const [key, column] of this.columns) twin.columns.set(key, [...column]);
    return twin;
  }

  /** Rows as [time, {key: value}], for tests and downloads. */
  rows() {
    return this.times.map((time, index) => {
      const values = {};
      for (const [key, column] of this.columns) if (column[index] !== null) values[key] = column[index];
      return [time, values];
    });
  }
}
