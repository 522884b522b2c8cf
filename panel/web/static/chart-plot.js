// How uPlot draws one chart: axes, lines, the limit, and the colours of the theme in force. Knows no samples.

import { clock, number } from "./format.js";

const TIME_STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 432000];
const FONT = "12px 'IBM Plex Sans', sans-serif";

// Asking the page for a style with each line of each draw costs more than the drawing.
const known = new Map();
let theme = null;

/** The value of a colour token now. */
export function token(name) {
  if (document.body.className !== theme) {
    theme = document.body.className;
    known.clear();
  }
  let value = known.get(name);
  if (value === undefined) {
    value = getComputedStyle(document.body).getPropertyValue(name).trim() || "#888";
    known.set(name, value);
  }
  return value;
}

/** The token of a line; `index` < 0 is the total. */
export function lineToken(index) {
  return index < 0 ? "--pd-series-total" : `--pd-series-${index % 8}`;
}

/** A time as an axis with steps of `step` seconds shows it. */
export function timeLabel(seconds, step) {
  if (step < 60) return clock(seconds);
  if (step < 43200) return clock(seconds).slice(0, 5);
  const date = new Date(seconds * 1000);
  return `${date.getDate()}.${date.getMonth() + 1}.`;
}

function axes(shape) {
  const look = {
    stroke: () => token("--pd-chart-text"),
    grid: { stroke: () => token("--pd-chart-grid"), width: 1 },
    ticks: { show: false },
    font: FONT,
  };
  const values = (u, splits) => splits.map((split) => number(split / shape.divisor).replace(/(\.\d)0$/, "$1"));
  return [
    { ...look, values: (u, splits, axis, space, step) => splits.map((split) => timeLabel(split, step)), space: 70, incrs: TIME_STEPS_S, size: 32 },
    { ...look, values, size: 52 },
  ];
}

/** The dashed line of the limit, at the top edge with a word where it lies above the scale. */
function drawLimit(u, shape) {
  if (!shape.limit) return;
  const { ctx, bbox } = u;
  const isAbove = shape.limit.value > u.scales.y.max;
  const y = isAbove ? bbox.top + 1 : u.valToPos(shape.limit.value, "y", true);
  ctx.save();
  ctx.strokeStyle = token("--pd-bad");
  ctx.fillStyle = token("--pd-bad");
  ctx.lineWidth = 1.5 * devicePixelRatio;
  ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.font = `${12 * devicePixelRatio}px 'IBM Plex Sans', sans-serif`;
  ctx.textAlign = "right";
  ctx.textBaseline = "top";
  ctx.fillText(isAbove ? `${shape.limit.text}, above the scale` : shape.limit.text, bbox.left + bbox.width - 6, y + 4);
  ctx.restore();
}

/**
 * The options of a plot. `shape` is read with each draw: {divisor, limit: {value, text} or null, toLimit, floor}.
 * `lines` are {slot, total, dashed} in the order of the data; with `hasPeaks` as many faint ones follow.
 */
export function plotOptions({ width, height, lines, shape, hasPeaks = false, onCursor, onSelect }) {
  const alone = lines.length === 1;
  // A line of one pixel costs a browser half of a wider one, and many thin ones are told apart better.
  const thin = lines.length > 4 ? 1 : 1.5;
  return {
    width,
    height,
    legend: { show: false },
    cursor: { drag: { x: true, y: false, setScale: false }, points: { size: 7 }, focus: { prox: -1 } },
    scales: {
      x: { time: true, auto: false },
      y: {
        range: (u, low, high) => {
          const top = high > 0 ? high * 1.12 : 1;
          const reach = shape.limit && (shape.toLimit || shape.limit.value <= high * 2);
          return [0, reach ? Math.max(top, shape.limit.value * 1.08) : top];
        },
      },
    },
    axes: axes(shape),
    series: [
      {},
      ...lines.map(({ slot, total, dashed }) => ({
        stroke: () => token(lineToken(slot)),
        width: total || alone ? 2 : thin,
        fill: (alone || total) && !dashed ? () => token("--pd-series-fill") : undefined,
        dash: dashed ? [5, 4] : undefined,
        spanGaps: false,
        points: { show: false },
      })),
      // What a mean hides: the largest sample of its time.
      ...(hasPeaks ? lines : []).map(({ slot }) => ({ stroke: () => token(lineToken(slot)), width: 1, alpha: 0.4, points: { show: false } })),
    ],
    hooks: { draw: [(u) => drawLimit(u, shape)], setCursor: [onCursor], setSelect: [onSelect] },
  };
}
