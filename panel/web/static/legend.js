// The legend of a chart: who is drawn in which colour with which value; hides, shows one alone, searches, and keeps to the largest.

import { lineToken } from "./chart-plot.js";
import { el, keyed, setAttribute, setHidden, setText } from "./dom.js";

// More lines than this cannot be told apart by colour.
const MOST = 8;
const FOUND = 24;
// How many draws the choice of the largest stands, so that lines do not come and go with every sample.
const STANDS = 40;

export class Legend {
  hidden = new Set();
  slots = new Map();
  all = false;
  search = "";
  chosen = [];
  age = 0;
  known = [];

  /** `onChange` is called when other lines are to be drawn. */
  constructor(title, onChange) {
    this.onChange = onChange;
    this.list = el("ul", { class: "pd-legend", "aria-label": `Series of ${title}` });
    this.input = el("input", { type: "search", placeholder: "Find a series", "aria-label": `Find a series of ${title}`, class: "pd-legendsearch" });
    this.more = el("button", { type: "button", class: "pd-button pd-quiet pd-legendmore", "aria-pressed": "false" });
    this.tools = el("div", { class: "pd-legendtools", hidden: true }, this.input, this.more);
    this.node = el("div", { class: "pd-legendbox" }, this.list, this.tools);
    this.input.addEventListener("input", () => {
      this.search = this.input.value.trim().toLowerCase();
      this.change();
    });
    this.more.addEventListener("click", () => {
      this.all = !this.all;
      this.change();
    });
  }

  change() {
    this.age = 0;
    this.onChange();
  }

  /** Of all series those in the legend, each with the `slot` of its colour; `size(key)` ranks them. */
  choose(series, size) {
    this.age -= 1;
    if (series === this.known && this.age > 0) return this.chosen;
    this.known = series;
    this.age = STANDS;
    const parts = series.filter((one) => !one.total);
    const totals = series.filter((one) => one.total);
    // One that is left out alone is better shown.
    const most = parts.length === MOST + 1 ? MOST + 1 : MOST;
    setHidden(this.tools, parts.length <= most);
    const ranked = (list) => list.map((one) => [size(one.key) ?? -1, one]).sort((one, other) => other[0] - one[0]).map(([, one]) => one);
    let kept = parts;
    if (this.search) kept = ranked(parts.filter((one) => one.name.toLowerCase().includes(this.search))).slice(0, FOUND);
    else if (parts.length > most && !this.all) kept = new Set(ranked(parts).slice(0, MOST));
    const has = new Set(kept);
    const left = parts.length - has.size;
    setText(this.more, this.all ? `Only the ${MOST} largest` : `Others: ${left}`);
    setAttribute(this.more, "aria-pressed", String(this.all));
    const shown = [...parts.filter((one) => has.has(one)), ...totals];
    // A total alone among percentiles is no sum: it gets colours as parts do.
    const sums = totals.length === 1 ? 1 : 0;
    this.keepSlots(shown.filter((one) => !(one.total && sums)));
    this.chosen = shown.map((one) => ({ ...one, slot: one.total && sums ? -1 : this.slots.get(one.key), total: one.total && sums === 1 }));
    return this.chosen;
  }

  /** Whoever stays keeps its colour; a new one takes the first that is free. */
  keepSlots(shown) {
    const before = this.slots;
    this.slots = new Map(shown.filter((one) => before.has(one.key)).map((one) => [one.key, before.get(one.key)]));
    const taken = new Set(this.slots.values());
    let free = 0;
    for (const { key } of shown) {
      if (this.slots.has(key)) continue;
      while (taken.has(free)) free += 1;
      taken.add(free);
      this.slots.set(key, free);
    }
  }

  /** What is drawn of what was chosen. */
  drawn() {
    const open = this.chosen.filter((one) => !this.hidden.has(one.key));
    return open.length > 0 ? open : this.chosen.slice(0, 0);
  }

  toggle(key, alone) {
    const others = this.chosen.map((one) => one.key).filter((one) => one !== key);
    if (alone) {
      const isAlone = !this.hidden.has(key) && others.every((one) => this.hidden.has(one));
      this.hidden = isAlone ? new Set() : new Set(others);
    } else if (!this.hidden.delete(key)) this.hidden.add(key);
    this.onChange();
  }

  /** Shows the entries with `text(key)` as their value. */
  show(text) {
    keyed(
      this.list,
      this.chosen,
      (one) => one.key,
      (one) => {
        const button = el(
          "button",
          { type: "button", class: "pd-legendentry", data: { series: one.key } },
          el("span", { class: "pd-swatch" }),
          el("span", { class: "pd-legendname" }),
          el("span", { class: "pd-legendvalue" }),
        );
        button.addEventListener("click", (event) => this.toggle(one.key, event.shiftKey || event.detail > 1));
        return el("li", {}, button);
      },
      (item, one) => {
        const button = item.firstChild;
        const [swatch, name, value] = button.children;
        const colour = `var(${lineToken(one.slot)})`;
        if (swatch.style.borderTopColor !== colour) swatch.style.borderTop = `3px ${one.dashed ? "dashed" : "solid"} ${colour}`;
        setText(name, one.name);
        setText(value, text(one.key));
        setAttribute(button, "aria-pressed", String(!this.hidden.has(one.key)));
        setAttribute(button, "title", `${one.source ? `From ${one.source}. ` : ""}Click hides it; double-click or Shift shows it alone.`);
      },
    );
  }
}
