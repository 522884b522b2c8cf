// Numbers and times as people read them; no page, no state.

const two = (value) => String(value).padStart(2, "0");

/** 24 h clock of a time in seconds since 1970. */
export function clock(seconds) {
  const date = new Date(seconds * 1000);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined || seconds < 0) return "–";
  const whole = Math.floor(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${two(Math.floor(whole / 60) % 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor(whole / 3600) % 24} h`;
}

/** The same with a tenth of a second where that matters. */
export function shortDuration(seconds) {
  if (seconds === null || seconds === undefined || seconds < 0) return "–";
  return seconds < 10 ? `${seconds.toFixed(1)} s` : duration(seconds);
}

/** A date and time of day, the date only where it is not today's. */
export function moment(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const date = new Date(seconds * 1000);
  const time = clock(seconds).slice(0, 5);
  if (date.toDateString() === new Date().toDateString()) return time;
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${time}`;
}

/** Decimal units, as everywhere in the panel. */
export function bytes(count) {
  if (count === null || count === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** At most three significant places before the point, none that mean nothing. */
export function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en-US");
  if (size >= 100 || Number.isInteger(value)) return String(Math.round(value));
  return size >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export function percent(value) {
  return value === null || value === undefined ? "–" : `${Math.round(value)} %`;
}

export function milliseconds(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return value >= 1000 ? `${(value / 1000).toFixed(2)} s` : `${value >= 100 ? Math.round(value) : value.toFixed(1)} ms`;
}

/** The value below which the share `part` of `values` lies (nearest rank). */
export function quantile(values, part) {
  if (values.length === 0) return null;
  const sorted = [...values].sort((left, right) => left - right);
  return sorted[Math.min(sorted.length - 1, Math.ceil(part * sorted.length) - 1)];
}

const PROCESS_LABELS = {
  pending: "Waiting",
  starting: "Starting",
  ready: "Ready",
  stopping: "Stopping",
  stopped: "Stopped",
  crashed: "Crashed",
  restarting: "Restarting",
  degraded: "Degraded",
  failed: "Failed",
  unsupervised: "Unsupervised",
};

export function stateLabel(state) {
  return PROCESS_LABELS[state] ?? state;
}

/** The same of a whole run: one that is only watched is never stopped, the watching of it ends. */
export function runLabel({ state, attached }) {
  return attached && state === "stopped" ? "Detached" : stateLabel(state);
}

const SIGNALS = { 1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE", 15: "SIGTERM" };

/** How a process ended, from its exit code; negative is a signal. */
export function exitText(code) {
  if (code === null || code === undefined) return "";
  if (code >= 0) return `exit code ${code}`;
  return `signal ${-code}${SIGNALS[-code] ? ` (${SIGNALS[-code]})` : ""}`;
}

export function modeLabel(mode) {
  return mode === "unified" ? "unified" : "prefill / decode";
}

/** The last part of a path or Hub id. */
export function shortModel(model) {
  return model.split("/").filter(Boolean).pop() ?? model;
}
