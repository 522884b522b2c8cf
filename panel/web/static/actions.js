// What the page asks the panel to do: named actions in JSON. A failure is an Error with one sentence.

import { url } from "./base.js";

async function post(path, body = {}, signal = undefined) {
  let response;
  try {
    response = await fetch(url(path), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The panel does not answer; is it still running?");
  }
  if (!response.ok) throw new Error(await sentence(response));
  return response;
}

async function get(path) {
  let response;
  try {
    response = await fetch(url(path), { cache: "no-store" });
  } catch {
    throw new Error("The panel does not answer; is it still running?");
  }
  if (!response.ok) throw new Error(await sentence(response));
  return response;
}

/** The one sentence of an error answer. */
export async function sentence(response) {
  const text = await response.text();
  try {
    return JSON.parse(text).error ?? text;
  } catch {
    return text.trim() || `The panel answered with status ${response.status}.`;
  }
}

const part = encodeURIComponent;

export async function deploy(form) {
  return (await (await post("/api/runs", form)).json()).run;
}

export async function stopRun(run) {
  await post(`/api/runs/${part(run)}/stop`);
}

/** Restarts, resumes, adopts or detaches a whole run; returns the id of the run that goes on. */
export async function actOnRun(run, action) {
  return (await (await post(`/api/runs/${part(run)}/${action}`)).json()).run;
}

/** What other numbers of workers, by role, would change of a run; nothing happens. */
export async function previewScale(run, counts) {
  return (await post(`/api/runs/${part(run)}/scale/preview`, counts)).json();
}

/** Does what a preview has shown: `wish` is its counts with its id as `shown`; answers when all of it is done. */
export async function scaleRun(run, wish) {
  await post(`/api/runs/${part(run)}/scale`, wish);
}

/** The YAML of the deployment that a run was started from. */
export async function deploymentOf(run) {
  return (await (await get(`/api/runs/${part(run)}/deployment`)).json()).text;
}

/** The unified deployment that a run is compared with: {text, workers, needs_consent}. */
export async function unifiedOf(run) {
  return (await get(`/api/runs/${part(run)}/unified`)).json();
}

/** What a deployment would meet on this host, before it is started: the form's values, or a YAML text. */
export async function checkDeployment(body, signal) {
  return (await post("/api/deploy/check", body, signal)).json();
}

/** The facts of every run that is on disk. */
export async function history() {
  return (await (await get("/api/history")).json()).runs;
}

/** What limits a run now, with the evidence and what to try. */
export async function verdictOf(run) {
  return (await get(`/api/runs/${part(run)}/verdict`)).json();
}

/** What each rank of a run's workers computes, by worker; only workers with several ranks. */
export async function ranksOf(run) {
  return (await (await get(`/api/runs/${part(run)}/ranks`)).json()).workers;
}

const profileOf = (run, process) => `/api/runs/${part(run)}/processes/${part(process)}/profile`;

/** Where the last profile of a process stands, and its files. */
export async function profileStatus(run, process) {
  return (await get(profileOf(run, process))).json();
}

/** Begins a profile (`start`), or ends it (`stop`) and answers once its traces are written. */
export async function profileAction(run, process, action) {
  return (await post(`${profileOf(run, process)}/${action}`)).json();
}

/** What took the time in the last trace of a rank. */
export async function profileSummary(run, process, rank) {
  return (await get(`${profileOf(run, process)}/summary?rank=${part(rank)}`)).json();
}

/** Where the last trace of a rank is downloaded. */
export function profileTrace(run, process, rank) {
  return url(`${profileOf(run, process)}/trace?rank=${part(rank)}`);
}

/** Begins a proof of a run's transport; how far it is, and the last one, is what `proofOf` tells. */
export async function beginProof(run) {
  return (await post(`/api/runs/${part(run)}/proof`)).json();
}

export async function proofOf(run) {
  return (await get(`/api/runs/${part(run)}/proof`)).json();
}

/** Removes an ended run and returns how many bytes that freed. */
export async function removeRun(run) {
  return (await (await post("/api/history/remove", { runs: [run] })).json()).freed_bytes;
}

/** What a clean-up would free, as {items: [{kind, name, size_bytes, why}], size_bytes}; the wish is as in `prune`. */
export async function prunable(wish) {
  const asked = Object.entries(wish).filter(([, value]) => value !== null && value !== false);
  return (await get(`/api/prune?${new URLSearchParams(asked)}`)).json();
}

/** Frees what a wish {days, keep, logs, samples, models} is about, of it no more than `only`; returns what was freed. */
export async function prune(wish, only) {
  return (await post("/api/prune", { ...wish, only })).json();
}

/** The files that a report about a run would hold. */
export async function reportOf(run) {
  return (await get(`/api/runs/${part(run)}/report`)).json();
}

/** The report itself: {name, blob}. */
export async function packedReport(run) {
  const response = await post(`/api/runs/${part(run)}/report`);
  const name = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") ?? "")?.[1];
  return { name: name ?? "report.zip", blob: await response.blob() };
}

export async function actOnProcess(run, process, action) {
  await post(`/api/runs/${part(run)}/processes/${part(process)}/${action}`);
}

/** Yields the events of one try; `signal` stops it. */
export async function* tryPrompt(run, body, signal) {
  const response = await fetch(url(`/api/runs/${part(run)}/try`), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  if (!response.ok) throw new Error(await sentence(response));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (held + value).split("\n");
    held = lines.pop();
    for (const line of lines) if (line) yield JSON.parse(line);
  }
}
