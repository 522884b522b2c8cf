// The sections of Observe: folded or open (remembered by the browser), charts that have data, and why others have none.

import { Chart } from "./chart.js";
import { el, keyed, setAttribute, setHidden, setText } from "./dom.js";
import { SECTIONS } from "./observe-charts.js";
import { store } from "./store.js";

const REMEMBERED = "pdpanel.observe.folded";
const FOLDED = ["memory", "network", "host"];

function remembered() {
  try {
    const found = JSON.parse(localStorage.getItem(REMEMBERED));
    return new Set(Array.isArray(found) ? found : FOLDED);
  } catch {
    return new Set(FOLDED);
  }
}

function remember(folded) {
  try {
    localStorage.setItem(REMEMBERED, JSON.stringify([...folded]));
  } catch {
    // A browser that keeps nothing forgets the folding: nothing else is lost.
  }
}

class Section {
  constructor(definition, timebase, limitOf, isOpen, onFold) {
    this.definition = definition;
    this.charts = definition.charts.map((chart) => new Chart(chart, timebase, limitOf));
    this.hint = el("span", { class: "pd-hint" });
    this.grid = el("div", { class: "pd-chartgrid" }, ...this.charts.map((chart) => chart.node));
    this.missing = el("ul", { class: "pd-missing", data: { testid: `missing-${definition.name}` } });
    this.node = el(
      "details",
      { class: "pd-section", open: isOpen, data: { section: definition.name } },
      el("summary", {}, el("h3", {}, definition.title), this.hint),
      el("div", { class: "pd-stack" }, this.grid, this.missing),
    );
    this.node.addEventListener("toggle", () => onFold(definition.name, this.node.open));
  }

  /** Shows the charts with data and one line for each without; `explain(chart)` may have a better reason. */
  look(explain, isEarly) {
    const empty = [];
    for (const chart of this.charts) {
      const has = chart.look();
      setHidden(chart.node, !has);
      if (!has) empty.push(chart.definition);
    }
    const reason = (chart) => explain(chart) || (isEarly ? "No samples yet: they come as soon as the workers answer." : chart.why);
    const none = empty.length === this.charts.length;
    setHidden(this.grid, none);
    // Of a folded section nothing is asked for: only a group that is not there at all is known to be empty.
    const lacks = this.definition.charts.every((chart) => !store.groups.has(chart.group));
    setHidden(this.node, Boolean(this.definition.optional) && lacks);
    setText(this.hint, !isEarly && !this.node.open && lacks ? `no data: ${reason(this.definition.charts[0])}` : "");
    keyed(
      this.missing,
      empty,
      (chart) => chart.name,
      () => el("li", {}, el("b", {}), el("span")),
      (item, chart) => {
        setText(item.firstChild, chart.title);
        setText(item.lastChild, reason(chart));
      },
    );
    setAttribute(this.missing, "hidden", empty.length === 0);
  }

  tick() {
    if (this.node.open) for (const chart of this.charts) if (!chart.node.hidden) chart.tick();
  }
}

/** All sections; `onFold` is called when one was opened or folded. */
export class Sections {
  constructor(timebase, limitOf, onFold) {
    this.folded = remembered();
    this.list = SECTIONS.map((definition) => {
      const isOpen = !this.folded.has(definition.name);
      return new Section(definition, timebase, limitOf, isOpen, (name, open) => {
        if (open === !this.folded.has(name)) return;
        if (open) this.folded.delete(name);
        else this.folded.add(name);
        remember(this.folded);
        onFold();
      });
    });
    this.node = el("div", { class: "pd-sections" }, ...this.list.map((section) => section.node));
  }

  /** The definitions of the sections that are open. */
  open() {
    return SECTIONS.filter((section) => !this.folded.has(section.name));
  }

  look(explain, isEarly) {
    for (const section of this.list) section.look(explain, isEarly);
  }

  tick() {
    for (const section of this.list) section.tick();
  }
}
