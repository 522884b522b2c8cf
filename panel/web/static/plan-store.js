// The deployment that is being planned: its text is the truth, the form sends edits, the panel answers with the plan.

import { sentence } from "./actions.js";
import { url } from "./base.js";

const KEY = "pdpanel.plan";
const WAIT_MS = 100;
const MOST_STEPS = 60;
const NO_ANSWER = "The panel does not answer; is it still running?";

/** Asks a route of the Plan tab; `body` makes it a POST. */
export async function ask(path, body = null, signal = undefined) {
  const options = body === null ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let response;
  try {
    response = await fetch(url(`/api/plan/${path}`), { cache: "no-store", signal, ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new TypeError(NO_ANSWER);
  }
  if (!response.ok) throw new Error(await sentence(response));
  return response;
}

export const askJson = async (path, body = null, signal = undefined) => (await ask(path, body, signal)).json();

const listeners = { form: [], answer: [], start: [], trouble: [] };

export const plan = {
  /** What the form has, from the panel; null until it came. */
  form: null,
  text: "",
  /** What the person began with: {kind: default | preset | own | paste, name, text}, and of an import its remarks, findings. */
  start: null,
  /** The newest answer, and the newest one without an error. */
  answer: null,
  good: null,
  /** What the controls show; outlives texts that cannot be read. */
  values: {},
  dialect: "bundled",
  trouble: "",
  busy: false,
  serverMs: null,

  on(names, run) {
    for (const name of names) listeners[name].push(run);
  },

  /** Takes a text that the person typed. */
  type(text) {
    remember();
    this.text = text;
    schedule();
  },

  /** Takes what a control of the form holds now. */
  edit(path, shown) {
    remember();
    edits.set(path, shown);
    schedule();
  },

  /** Takes a change that was offered and chosen: `undo` takes back this one alone. */
  take(path, shown) {
    remember(true);
    edits.set(path, shown);
    schedule(0);
  },

  /** Begins with another text; what was there can be had back by `undo`. */
  begin(start) {
    remember(true);
    this.start = start;
    this.text = start.text;
    this.values = {};
    edits.clear();
    tell("start");
    schedule(0);
  },

  backToStart() {
    this.begin(this.start);
  },

  get canUndo() {
    return steps.length > 0;
  },

  undo() {
    const step = steps.pop();
    if (!step) return;
    edits.clear();
    [this.text, this.start] = [step.text, step.start];
    stepAt = 0;
    tell("start");
    schedule(0);
  },

  /** The text as it is once every edit of the form has arrived. */
  async settled() {
    while (pending()) await new Promise((resolve) => waiting.push(resolve));
    return this.text;
  },

  async open() {
    try {
      this.form = await askJson("form");
    } catch (error) {
      this.trouble = error.message;
      tell("trouble");
      return;
    }
    this.trouble = "";
    const kept = draft();
    this.start = kept?.start ?? { kind: "default", name: "the bundled engine", text: this.form.default };
    this.text = kept?.text ?? this.form.default;
    // What the form held when the panel did not answer, or could not read the text.
    for (const [path, shown] of kept?.edits ?? []) edits.set(path, shown);
    tell("form");
    tell("start");
    tell("trouble");
    schedule(0);
  },
};

const edits = new Map();
const steps = [];
const waiting = [];
let stepAt = 0;
let timer = 0;
let question = null;

function tell(name) {
  for (const run of listeners[name]) run();
}

const pending = () => timer !== 0 || question !== null;

function draft() {
  try {
    // What this browser tab had goes before what another one kept later.
    const kept = JSON.parse(sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY));
    return typeof kept?.text === "string" && typeof kept?.start?.text === "string" ? kept : null;
  } catch {
    return null;
  }
}

function keep() {
  try {
    const kept = JSON.stringify({ text: plan.text, start: plan.start, edits: [...edits] });
    sessionStorage.setItem(KEY, kept);
    localStorage.setItem(KEY, kept);
  } catch {
    // A browser without room or permission keeps nothing; the page works on.
  }
}

/** Keeps what is there now for `undo`: once for what is typed in one go. */
function remember(always = false) {
  const now = Date.now();
  if (plan.start !== null && (always || now - stepAt > 1500) && steps.at(-1)?.text !== plan.text) {
    steps.push({ text: plan.text, start: plan.start });
    if (steps.length > MOST_STEPS) steps.shift();
  }
  stepAt = always ? 0 : now;
}

function schedule(after = WAIT_MS) {
  keep();
  // Whatever is under way is about an older text.
  question?.abort();
  question = null;
  clearTimeout(timer);
  timer = setTimeout(send, after);
}

async function send() {
  timer = 0;
  const asked = new AbortController();
  question = asked;
  plan.busy = true;
  const sent = [...edits].map(([path, shown]) => ({ path, shown }));
  try {
    const response = await ask("preview", { text: plan.text, edits: sent }, asked.signal);
    const answer = await response.json();
    if (question !== asked) return;
    take(answer, response);
  } catch (error) {
    if (question !== asked) return;
    plan.trouble = error.message;
    tell("trouble");
  }
  question = null;
  plan.busy = false;
  keep();
  for (const resolve of waiting.splice(0)) resolve();
}

function take(answer, response) {
  const timing = /dur=([\d.]+)/.exec(response.headers.get("Server-Timing") ?? "");
  plan.serverMs = timing ? Number(timing[1]) : null;
  // A text that cannot be read keeps the edits until it can.
  if (answer.values !== null) {
    edits.clear();
    plan.text = answer.text;
    plan.values = answer.values;
  }
  if (answer.dialect) plan.dialect = answer.dialect;
  plan.answer = answer;
  if (!answer.error) plan.good = answer;
  if (plan.trouble) {
    plan.trouble = "";
    tell("trouble");
  }
  tell("answer");
}
