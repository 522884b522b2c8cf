// How much of the NICs' line rate the KV takes: the rate from the series' limits, the share from the newest value.

import { quantity } from "./observe-charts.js";
import { lineRate, scaled } from "./units.js";

/** {value, text} of what the run's NICs carry together, in words as "4 x 400 Gb/s"; null where nobody knows. */
export function kvLimit(series) {
  const sent = series.filter((one) => one.group === "nic" && one.limit && quantity(one.key) === "tx_bytes_per_s");
  const sum = sent.reduce((all, one) => all + one.limit, 0);
  const value = series.find((one) => one.key === "run/kv_bytes_per_s")?.limit ?? sum;
  if (!value) return null;
  const rates = new Set(sent.map((one) => one.limit));
  const count = rates.size === 1 ? value / [...rates][0] : 0;
  return { value, text: Number.isInteger(count) && count > 0 ? `${count} x ${lineRate([...rates][0])}` : lineRate(value) };
}

/** The share of `limit` as people read it: "12 %", "0.3 %", "< 0.1 %". */
export function share(value, limit) {
  const percent = (100 * value) / limit;
  if (percent === 0) return "0 %";
  if (percent < 0.1) return "< 0.1 %";
  return `${percent < 10 ? percent.toFixed(1) : Math.round(percent)} %`;
}

/** The limit of a chart: of KV all NICs together, of others the one that all its lines have. */
export function limitOf(chart) {
  const { definition, timebase, lines } = chart;
  if (definition.group === "kv") {
    const limit = kvLimit(timebase.series);
    const now = timebase.frame.newest("run/kv_bytes_per_s");
    if (!limit) return null;
    const used = now === null ? `line rate ${limit.text}` : `${share(now, limit.value)} of ${limit.text}`;
    return { value: limit.value, text: `line rate ${limit.text}`, used };
  }
  const limits = new Set(lines.map((one) => one.limit ?? null));
  const [value] = limits;
  if (limits.size !== 1 || !value || definition.unit === "%") return null;
  const fastest = Math.max(...lines.map((one) => timebase.frame.newest(one.key) ?? 0));
  const { divisor, label } = scaled(definition.unit, value);
  const text = definition.unit === "B/s" ? `line rate ${lineRate(value)}` : `of ${Number((value / divisor).toPrecision(3))} ${label}`;
  return { value, text, used: `up to ${share(fastest, value)} of ${text.replace(/^(line rate|of) /, "")}` };
}
