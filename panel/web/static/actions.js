// What the page asks the panel to do: named actions in JSON. A failure is an Error with one sentence.

async function post(path, body = {}) {
  let response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
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

export async function actOnProcess(run, process, action) {
  await post(`/api/runs/${part(run)}/processes/${part(process)}/${action}`);
}

/** Yields the events of one try; `signal` stops it. */
export async function* tryPrompt(run, body, signal) {
  const response = await fetch(`/api/runs/${part(run)}/try`, {
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
