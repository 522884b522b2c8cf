// The past of a run beyond what travels live: asks the panel for a stretch of it.

import { url } from "./base.js";
import { Frame } from "./frame.js";

const POINTS = 800;

/** {frame, series, from, to} of the last `seconds` before `end`; throws an Error with one sentence. */
export async function past(run, seconds, end, groups) {
  const asked = new URLSearchParams({ from: (end - seconds).toFixed(3), to: end.toFixed(3), groups: groups.join(","), points: String(POINTS) });
  const answer = await fetch(url(`/api/runs/${encodeURIComponent(run)}/range?${asked}`), { cache: "no-store" });
  if (answer.status === 404) throw new Error("This panel keeps no longer past of this run.");
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error ?? `The panel answered with status ${answer.status}.`);
  const frame = new Frame(said.series.map((one) => one.key), said.step_s);
  said.times.forEach((time, index) => frame.push(time, said.columns.map((column) => column[index])));
  return { frame, series: said.series, from: end - seconds, to: end };
}
