// A small chart of columns that are given whole: progress of a load, or distributions side by side.

import { token } from "./chart-plot.js";
import { el, isVisible, keyed, setText } from "./dom.js";
import { number } from "./format.js";

const FONT = "12px 'IBM Plex Sans', sans-serif";
const HEIGHT = 190;

export class BenchPlot {
  /** `xLabel` names the x axis and its unit; `percent` shows it as percentiles 0 to 100. */
  constructor({ name, title, unit, xUnit }) {
    this.title = title;
    this.unit = unit;
    this.xUnit = xUnit;
    this.lines = [];
    this.data = [[]];
    this.legend = el("ul", { class: "pd-legend" });
    this.when = el("span", { class: "pd-when" });
    this.box = el("div", { class: "pd-plot", role: "img", "aria-label": title, data: { bench: name } });
    this.node = el("section", { class: "pd-card pd-chart", "aria-label": title },
      el("div", { class: "pd-charthead" }, el("h3", {}, title, el("span", { class: "pd-unit" }, unit)), this.when), this.legend, this.box);
    new ResizeObserver(() => this.draw()).observe(this.box);
    new MutationObserver(() => this.plot?.redraw(false)).observe(document.body, { attributeFilter: ["class"] });
  }

  /** Shows `lines` ({name}) over `data`: the x values, then a column each. */
  set(lines, data) {
    const same = lines.length === this.lines.length && lines.every((line, index) => line.name === this.lines[index].name);
    this.lines = lines;
    this.data = data;
    if (!same) {
      this.plot?.destroy();
      this.plot = null;
    }
    this.draw();
  }

  draw() {
    if (!isVisible(this.box) || !window.uPlot || this.lines.length === 0) return;
    const width = this.box.clientWidth;
    if (!this.plot) this.plot = new window.uPlot(this.options(width), this.data, this.box);
    else {
      if (this.plot.width !== width) this.plot.setSize({ width, height: HEIGHT });
      this.plot.setData(this.data);
    }
    this.readOut();
  }

  options(width) {
    const look = { stroke: () => token("--pd-chart-text"), grid: { stroke: () => token("--pd-chart-grid"), width: 1 }, ticks: { show: false }, font: FONT };
    const plain = (u, splits) => splits.map((split) => number(split).replace(/(\.\d)0$/, "$1"));
    return {
      width,
      height: HEIGHT,
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { size: 7 } },
      scales: { x: { time: false }, y: { range: (u, low, high) => [0, high > 0 ? high * 1.12 : 1] } },
      axes: [{ ...look, values: plain, size: 30, space: 60 }, { ...look, values: plain, size: 52 }],
      series: [{}, ...this.lines.map((line, index) => ({
        stroke: () => token(`--pd-series-${index % 8}`), width: 2, points: { show: false },
        fill: this.lines.length === 1 ? () => token("--pd-series-fill") : undefined,
      }))],
      hooks: { setCursor: [() => this.readOut()] },
    };
  }

  readOut() {
    const at = this.plot?.cursor.idx;
    const under = at !== null && at !== undefined && this.plot.cursor.left >= 0;
    const place = under ? at : this.data[0].length - 1;
    setText(this.when, under ? `${this.xUnit.before ?? ""}${number(this.data[0][place])}${this.xUnit.after ?? ""}` : "");
    const value = (index) => (under || !this.xUnit.still ? this.data[index + 1]?.[place] : null);
    keyed(this.legend, this.lines.map((line, index) => ({ line, index })), ({ line }) => line.name,
      () => el("li", {}, el("span", { class: "pd-swatch" }), el("span", { class: "pd-legendname" }), el("span", { class: "pd-legendvalue" })),
      (node, { line, index }) => {
        node.firstChild.style.background = `var(--pd-series-${index % 8})`;
        setText(node.children[1], line.name);
        setText(node.lastChild, value(index) === null ? "" : number(value(index)));
      });
    const spoken = this.lines.map((line, index) => `${line.name} ${number(this.data[index + 1]?.[this.xUnit.still ? Math.floor((this.data[0].length - 1) / 2) : place])} ${this.unit}`);
    this.box.setAttribute("aria-label", `${this.title}: ${spoken.join(", ")}`);
  }
}
