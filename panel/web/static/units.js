// Units chosen by size: one unit for a whole chart, by its largest value, so that numbers beside each other compare.

const STEPS = {
  "B/s": [[1, "B/s"], [1e3, "kB/s"], [1e6, "MB/s"], [1e9, "GB/s"], [1e12, "TB/s"]],
  B: [[1, "B"], [1e3, "kB"], [1e6, "MB"], [1e9, "GB"], [1e12, "TB"]],
  s: [[1e-6, "µs"], [1e-3, "ms"], [1, "s"]],
  "tokens/s": [[1, "tokens/s"], [1e3, "k tokens/s"], [1e6, "M tokens/s"]],
};

// What a value of nothing is told in: bytes in the unit of a network, times in that of an answer.
const IDLE = { "B/s": "MB/s", B: "MB", s: "ms" };

/** {divisor, label} for values up to `most` in `unit`. */
export function scaled(unit, most) {
  const steps = STEPS[unit];
  // What is counted, the title names.
  if (!steps) return { divisor: 1, label: ["requests", "pages", "objects"].includes(unit) ? "" : unit };
  const fitting = steps.findLast(([divisor]) => most >= divisor);
  // Nothing yet: each begins at the unit that people expect of it.
  const [divisor, label] = fitting ?? (most > 0 ? steps[0] : (steps.find(([, name]) => name === IDLE[unit]) ?? steps[0]));
  return { divisor, label };
}

/** A line rate in bytes per second as networks name it. */
export function lineRate(bytesPerS) {
  const gigabits = (bytesPerS * 8) / 1e9;
  return `${gigabits >= 10 ? Math.round(gigabits) : Number(gigabits.toPrecision(2))} Gb/s`;
}
