// What the page shows, kept in the URL's hash (`#tab=observe&run=ID&...`), so that a link, a reload, back and forward lead there.

const STEPS = new Set(["tab", "run"]);

function parse() {
  return new Map(new URLSearchParams(location.hash.slice(1)));
}

class Address extends EventTarget {
  values = parse();

  constructor() {
    super();
    // Back, forward and a hash typed by hand; our own changes fire neither.
    window.addEventListener("popstate", () => this.take(parse(), "outside"));
    window.addEventListener("hashchange", () => this.take(parse(), "outside"));
  }

  /** The value of a key as text, or null. */
  get(key) {
    return this.values.get(key) ?? null;
  }

  /** Sets one key; null or "" removes it. A new tab or run is a step that back undoes, anything else is not. */
  set(key, value, options) {
    this.assign({ [key]: value }, options);
  }

  /** Sets several keys at once, as one step at most; `step: false` never makes one. */
  assign(changes, { step = true } = {}) {
    const next = new Map(this.values);
    for (const [key, value] of Object.entries(changes)) {
      if (value === null || value === undefined || value === "") next.delete(key);
      else next.set(key, String(value));
    }
    const changed = Object.keys(changes).filter((key) => this.get(key) !== (next.get(key) ?? null));
    if (changed.length === 0) return;
    const isStep = step && changed.some((key) => STEPS.has(key));
    const url = this.link(next);
    if (isStep) history.pushState(null, "", url);
    else history.replaceState(null, "", url);
    this.take(next, "page");
  }

  /** The URL of these values: a Map, or changes to what is shown now. */
  link(values) {
    const all = values instanceof Map ? values : new Map([...this.values, ...Object.entries(values)]);
    // Words of a URL are told to other people: no query, which may hold a token.
    const hash = new URLSearchParams([...all]).toString();
    return `${location.pathname}${hash ? `#${hash}` : ""}`;
  }

  /** Calls `listener(value, from)` when the key's value changes, not now; `from` is "page" or "outside" (back, forward, typed). */
  on(key, listener) {
    this.addEventListener(key, (event) => listener(this.get(key), event.detail));
  }

  take(next, from) {
    const keys = new Set([...this.values.keys(), ...next.keys()]);
    const changed = [...keys].filter((key) => this.values.get(key) !== next.get(key));
    this.values = next;
    for (const key of changed) this.dispatchEvent(new CustomEvent(key, { detail: from }));
  }
}

export const address = new Address();
