// The routes of the Benchmark tab. A failure is an Error with one sentence.

import { sentence } from "./actions.js";
import { url } from "./base.js";

const part = encodeURIComponent;

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(url(`/api/loads${path}`), { cache: "no-store", ...options });
  } catch {
    throw new Error("The panel does not answer; is it still running?");
  }
  if (!response.ok) throw new Error(await sentence(response));
  return response;
}

const post = (path, body = {}) => ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
const json = async (answer) => (await answer).json();

export const loads = {
  list: async () => (await json(ask(""))).loads,
  abilities: () => json(ask("/abilities")),
  get: (id, since = 0) => json(ask(`/${part(id)}?since=${since}`)),
  start: async (body) => (await json(post("", body))).load,
  evaluate: async (body) => (await json(post("/accuracy", body))).load,
  commands: async (body) => (await json(post("/commands", body))).commands,
  stop: (id) => post(`/${part(id)}/stop`),
  remove: (id) => post(`/${part(id)}/remove`),
  found: async () => (await json(ask("/found"))).found,
  takeFound: async ({ run, log }) => (await json(post("/found", { run, log }))).loads,
  export: async (ids, form) => (await ask(`/export?ids=${part(ids.join(","))}&form=${form}`)).text(),
  import: async (file) =>
    (await json(ask(`/import?name=${part(file.name)}`, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file }))).loads,
};

const ACTIVE = new Set(["starting", "running", "stopping"]);

export const isActive = (entry) => ACTIVE.has(entry.state);

const STATES = {
  starting: ["Starting", "starting"],
  running: ["Running", "starting"],
  finished: ["Finished", "ready"],
  stopped: ["Stopped", "stopped"],
  "gave-up": ["Gave up", "failed"],
  failed: ["Failed", "failed"],
  died: ["Ended unexpectedly", "failed"],
  incomplete: ["Incomplete", "degraded"],
  unreadable: ["Not readable", "failed"],
};

/** What people read for a state, and the look of `pd-state` that it gets. */
export function stateOf(entry) {
  const [label, look] = STATES[entry.state] ?? [entry.state, "stopped"];
  const phase = isActive(entry) && entry.phase?.phase ? `: ${entry.phase.phase}` : "";
  const share = isActive(entry) && entry.phase?.total ? ` ${entry.phase.done} of ${entry.phase.total}` : "";
  return [`${label}${phase}${share}`, look];
}
