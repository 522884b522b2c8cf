// Search in a log: jumps are answered from where the reader is, and all hits are counted beside, slice by slice.

import { el, setText } from "./dom.js";

const MOST_COUNTED = 10000;

export class LogSearch {
  /** `source()` is the log, `anchor(direction)` where a jump begins, `show(at)` goes to a hit, `tell(text)` says how it went. */
  constructor({ source, anchor, show, tell, onChange }) {
    Object.assign(this, { source, anchor, show, tell, onChange });
    this.text = el("input", { id: "pd-log-find", type: "search", maxlength: 500, autocomplete: "off", spellcheck: "false", placeholder: "Text in the log", "data-testid": "log-find" });
    this.case = el("input", { id: "pd-log-case", type: "checkbox", "data-testid": "log-case" });
    this.regex = el("input", { id: "pd-log-regex", type: "checkbox", "data-testid": "log-regex" });
    this.count = el("span", { class: "pd-hint", role: "status", "data-testid": "log-hits" });
    this.node = el(
      "form",
      { class: "pd-toolbar", role: "search", "aria-label": "Search in the log" },
      el("label", { for: "pd-log-find", class: "pd-inline" }, el("span", {}, "Find"), this.text),
      el("button", { type: "button", class: "pd-button", "data-testid": "log-previous", on: { click: () => this.jump("previous") } }, "Previous"),
      el("button", { type: "submit", class: "pd-button", "data-testid": "log-next" }, "Next"),
      el("label", { for: "pd-log-case", class: "pd-check" }, this.case, el("span", {}, "Match case")),
      el("label", { for: "pd-log-regex", class: "pd-check" }, this.regex, el("span", {}, "Expression")),
      this.count,
    );
    this.node.addEventListener("submit", (event) => {
      event.preventDefault();
      this.jump("next");
    });
    this.text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.shiftKey) {
        event.preventDefault();
        this.jump("previous");
      } else if (event.key === "Escape" && this.text.value) {
        event.preventDefault();
        this.text.value = "";
        this.forget();
      }
    });
    for (const node of [this.text, this.case, this.regex]) node.addEventListener("input", () => this.forget());
    this.forget();
  }

  get query() {
    return { text: this.text.value, case: this.case.checked, regex: this.regex.checked };
  }

  /** Forgets what was found: the query or the log is another one. */
  forget() {
    this.stop?.abort();
    this.stop = new AbortController();
    this.hits = [];
    this.counting = false;
    this.done = false;
    this.at = 0;
    setText(this.count, "");
    this.onChange();
  }

  /** Goes to the next or previous hit from where the reader is, and begins to count. */
  async jump(direction) {
    if (!this.text.value) return;
    const { signal } = this.stop;
    this.tell("");
    try {
      const at = await this.find(this.query, direction === "previous", signal);
      if (at === null) this.tell("Nothing in this log matches.");
      else await this.show(at);
      this.onChange();
      if (!this.counting) this.countAll(signal);
      this.sayCount(at);
    } catch (error) {
      if (error.name !== "AbortError") this.tell(error.message);
    }
  }

  /** The place of the nearest hit in a direction; at the file's end it goes on from the other one. Null when there is none. */
  async find(query, backward, signal) {
    const source = this.source();
    const begin = this.anchor(backward);
    let at = begin;
    let wrapped = false;
    for (;;) {
      const found = await source.search(query, { at, backward, most: 1 }, signal);
      if (found.hits.length > 0) return found.hits[0];
      const past = wrapped && (backward ? found.at <= begin : found.at >= begin);
      if (past) return null;
      if (found.done) {
        if (wrapped) return null;
        wrapped = true;
        at = backward ? found.size : 0;
      } else at = found.at;
      const share = found.size ? Math.round((100 * (backward ? found.size - found.at : found.at)) / found.size) : 100;
      setText(this.count, `Searching, ${Math.min(100, share)} %`);
    }
  }

  async countAll(signal) {
    this.counting = true;
    const source = this.source();
    try {
      while (!this.done && this.hits.length < MOST_COUNTED) {
        const found = await source.search(this.query, { at: this.at, backward: false }, signal);
        for (const hit of found.hits) if (hit > (this.hits.at(-1) ?? -1)) this.hits.push(hit);
        this.at = found.at;
        this.done = found.done;
        this.share = found.size ? found.at / found.size : 1;
        this.sayCount(this.shown);
      }
    } catch (error) {
      if (error.name !== "AbortError") this.tell(error.message);
    }
  }

  sayCount(at) {
    this.shown = at;
    const many = this.hits.length >= MOST_COUNTED ? `${MOST_COUNTED}+` : String(this.hits.length);
    const place = at === null || at === undefined ? -1 : this.hits.indexOf(at);
    const which = place >= 0 ? `${place + 1} of ${many}` : many;
    const rest = this.done || this.hits.length >= MOST_COUNTED ? "" : ` so far, ${Math.round(100 * (this.share ?? 0))} % searched`;
    setText(this.count, `${which} ${this.hits.length === 1 && place < 0 ? "line" : "lines"}${rest}`);
  }
}

/** Paints the query in the rows that are shown; an expression is left to the server, which can end it. */
export function paint(pane, query) {
  if (!window.Highlight || !CSS.highlights) return;
  const ranges = [];
  if (query.text && !query.regex) {
    const wanted = query.case ? query.text : query.text.toLowerCase();
    for (const row of pane.children) {
      const node = row.lastChild;
      if (node?.nodeType !== Node.TEXT_NODE || ranges.length > 2000) continue;
      const text = query.case ? node.data : node.data.toLowerCase();
      if (text.length !== node.data.length) continue;
      for (let at = text.indexOf(wanted); at >= 0 && ranges.length <= 2000; at = text.indexOf(wanted, at + wanted.length)) {
        const range = new Range();
        range.setStart(node, at);
        range.setEnd(node, at + wanted.length);
        ranges.push(range);
      }
    }
  }
  CSS.highlights.set("pd-log-hit", new Highlight(...ranges));
}
