// What Observe gives away: samples as CSV, a chart as PNG.

import { lineToken, token } from "./chart-plot.js";
import { clock, number } from "./format.js";
import { give } from "./give.js";
import { store } from "./store.js";

function stamp(seconds) {
  return new Date(seconds * 1000).toISOString().slice(0, 19).replaceAll(":", "-");
}

/** A field of CSV; a text that a spreadsheet would take for a formula is made plain. */
function field(text) {
  const plain = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

/** The rows of `frame` from `begin` to `end` as CSV: time, seconds since 1970, and each series in its own unit. */
export function csv(frame, series, begin, end) {
  const head = ["time", "unix_s", ...series.map((one) => (one.unit ? `${one.key} [${one.unit}]` : one.key))];
  const columns = series.map((one) => frame.column(one.key));
  const mark = store.simulated ? ["# SIMULATED: the host of this run, its devices and their counters are made up."] : [];
  const lines = [...mark, head.map(field).join(",")];
  frame.times.forEach((time, index) => {
    const values = columns.map((column) => column?.[index] ?? null);
    // A gap's own row has no values: the missing time tells it.
    if (time < begin || time > end || values.every((value) => value === null)) return;
    lines.push([new Date(time * 1000).toISOString(), time.toFixed(3), ...values.map((value) => value ?? "")].join(","));
  });
  return `${lines.join("\n")}\n`;
}

export function saveCsv(run, frame, series, begin, end) {
  give(`${run}-${stamp(begin)}.csv`, new Blob([csv(frame, series, begin, end)], { type: "text/csv" }));
}

/** Draws a chart with its title, unit, time and legend on a canvas of its own. */
export function picture(chart) {
  const ratio = devicePixelRatio;
  const plot = chart.plot.ctx.canvas;
  const [begin, end] = chart.timebase.range();
  const padding = 16 * ratio;
  const line = 20 * ratio;
  const font = (size, weight = 400) => `${weight} ${size * ratio}px 'IBM Plex Sans', sans-serif`;
  const canvas = document.createElement("canvas");
  const ctx = canvas.getContext("2d");
  const entries = chart.lines.map((one) => ({ one, text: `${one.name}  ${number(chart.valueOf(one.key))}` }));
  ctx.font = font(13);
  // Legend entries in lines as wide as the plot.
  const rows = [[]];
  let used = 0;
  for (const entry of entries) {
    entry.width = ctx.measureText(entry.text).width + 40 * ratio;
    if (used + entry.width > plot.width && used > 0) {
      rows.push([]);
      used = 0;
    }
    entry.x = used;
    used += entry.width;
    rows.at(-1).push(entry);
  }
  canvas.width = plot.width + 2 * padding;
  canvas.height = plot.height + 2 * padding + 1.6 * line + rows.length * line;
  ctx.fillStyle = token("--pd-surface");
  ctx.fillRect(0, 0, canvas.width, canvas.height);
  ctx.textBaseline = "middle";
  ctx.fillStyle = token("--pd-text");
  ctx.font = font(16, 700);
  ctx.fillText(`${store.simulated ? "SIMULATED: " : ""}${chart.definition.title}${chart.unit.textContent ? `, ${chart.unit.textContent}` : ""}`, padding, padding + line / 2);
  ctx.font = font(13);
  ctx.fillStyle = token("--pd-soft");
  ctx.textAlign = "right";
  const day = new Date(begin * 1000).toLocaleDateString("sv-SE");
  ctx.fillText(`${day} ${clock(begin)} – ${clock(end)}`, canvas.width - padding, padding + line / 2);
  ctx.textAlign = "left";
  rows.forEach((row, place) => {
    const y = padding + 1.6 * line + place * line;
    for (const { one, text, x } of row) {
      ctx.fillStyle = token(lineToken(one.slot));
      ctx.fillRect(padding + x, y - 1.5 * ratio, 16 * ratio, 3 * ratio);
      ctx.fillStyle = token("--pd-text");
      ctx.fillText(text, padding + x + 22 * ratio, y);
    }
  });
  ctx.drawImage(plot, padding, canvas.height - padding - plot.height);
  return canvas;
}

export function savePng(chart) {
  if (!chart.plot) return;
  const [begin] = chart.timebase.range();
  picture(chart).toBlob((blob) => give(`${chart.definition.name}-${stamp(begin)}.png`, blob), "image/png");
}
