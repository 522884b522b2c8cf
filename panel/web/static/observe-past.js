// The past of a run beyond what travels live: asks the panel for a stretch of it.

import { url } from "./base.js";
import { Frame } from "./frame.js";

const POINTS = 800;

/**
 * {frame, series, from, to} of the last `seconds` before `end`; throws an Error with one sentence.
 * With `peaks` the frame has `peaks`, a frame of the largest samples, where its rows are means.
 */
export async function past(run, seconds, end, groups, peaks = false) {
  const asked = new URLSearchParams({ from: (end - seconds).toFixed(3), to: end.toFixed(3), groups: groups.join(","), points: String(POINTS), peaks: String(peaks) });
  const answer = await fetch(url(`/api/runs/${encodeURIComponent(run)}/range?${asked}`), { cache: "no-store" });
  if (answer.status === 404) throw new Error("This panel keeps no longer past of this run.");
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error ?? `The panel answered with status ${answer.status}.`);
  const filled = (columns) => {
    const frame = new Frame(said.series.map((one) => one.key), said.step_s);
    said.times.forEach((time, index) => frame.push(time, columns.map((column) => column[index])));
    return frame;
  };
  const frame = filled(said.columns);
  if (said.peaks?.some((column) => column.length > 0)) frame.peaks = filled(said.peaks);
  return { frame, series: said.series, from: end - seconds, to: end };
}
