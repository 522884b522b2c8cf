// One uPlot chart over the store's rows. Zoom by drag survives new samples; a gap in the data is a gap in the line.

import { el, isVisible, keyed, setText } from "./dom.js";
import { clock, number } from "./format.js";
import { store } from "./store.js";

const GAP_S = 3;
const SHORTEST_S = 60;
const TIME_STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];

/** A colour of the theme in force: `index` < 0 is the total. */
function colour(index) {
  const name = index < 0 ? "--pd-series-total" : `--pd-series-${index % 8}`;
  return getComputedStyle(document.body).getPropertyValue(name).trim() || "#888";
}

function themed(name) {
  return () => getComputedStyle(document.body).getPropertyValue(name).trim() || "#888";
}

function timeLabels(u, splits, axis, space, step) {
  return splits.map((split) => (step < 60 ? clock(split) : clock(split).slice(0, 5)));
}

/** The columns of uPlot: times, then one per series, with a row of nulls wherever samples are missing. */
export function columns(rows, series) {
  const data = [[], ...series.map(() => [])];
  let last = null;
  for (const [time, values] of rows) {
    if (last !== null && time - last > GAP_S) {
      data[0].push(last + 0.001);
      for (let index = 1; index < data.length; index += 1) data[index].push(null);
    }
    last = time;
    data[0].push(time);
    series.forEach((one, index) => {
      const value = values[one.key];
      data[index + 1].push(value === undefined ? null : value * one.scale);
    });
  }
  return data;
}

export class Chart {
  /** `group` chooses the series; `view` is shared by all charts: {windowS, paused, zoom}. */
  constructor({ name, title, group, unit, height, view, onZoom }) {
    this.group = group;
    this.unit = unit;
    this.height = height;
    this.view = view;
    this.onZoom = onZoom;
    this.name = name;
    this.title = title;
    this.keys = "";
    this.series = [];
    this.rows = [];
    this.emptyText = "";
    this.legend = el("ul", { class: "pd-legend" });
    this.when = el("span", { class: "pd-when" });
    this.plotBox = el("div", { class: "pd-plot", role: "img", data: { chart: name } });
    this.note = el("p", { class: "pd-hint pd-plotnote" });
    this.node = el(
      "section",
      { class: "pd-card pd-chart", "aria-label": title },
      el("div", { class: "pd-charthead" }, el("h3", {}, title, el("span", { class: "pd-unit" }, unit)), this.when),
      this.legend,
      this.plotBox,
      this.note,
    );
    new ResizeObserver(() => this.draw()).observe(this.plotBox);
    new MutationObserver(() => this.plot?.redraw(false)).observe(document.body, { attributeFilter: ["class"] });
    window.pdpanel.charts[name] = this;
  }

  mine() {
    const found = store.series.filter((series) => series.group === this.group);
    const parts = found.filter((series) => !series.total);
    // With one part the total is the same line.
    return parts.length === 1 ? parts : [...parts, ...found.filter((series) => series.total)];
  }

  index(series) {
    return series.total ? -1 : this.series.indexOf(series);
  }

  build() {
    this.plot?.destroy();
    const stroke = (index) => () => colour(index);
    const options = {
      width: this.plotBox.clientWidth,
      height: this.height,
      legend: { show: false },
      cursor: { drag: { x: true, y: false, setScale: false }, points: { size: 7 }, sync: { key: "pdpanel" } },
      scales: { x: { time: true }, y: { range: (u, low, high) => [0, high > 0 ? high * 1.12 : 1] } },
      axes: [
        {
          stroke: themed("--pd-chart-text"),
          grid: { stroke: themed("--pd-chart-grid"), width: 1 },
          ticks: { show: false },
          values: timeLabels,
          space: 70,
          incrs: TIME_STEPS_S,
          size: 32,
          font: "12px 'IBM Plex Sans', sans-serif",
        },
        {
          stroke: themed("--pd-chart-text"),
          grid: { stroke: themed("--pd-chart-grid"), width: 1 },
          ticks: { show: false },
          values: (u, splits) => splits.map((split) => number(split).replace(/(\.\d)0$/, "$1")),
          size: 52,
          font: "12px 'IBM Plex Sans', sans-serif",
        },
      ],
      series: [
        {},
        ...this.series.map((series) => ({
          label: series.label,
          stroke: stroke(this.index(series)),
          width: series.total || this.series.length === 1 ? 2 : 1.5,
          fill: this.series.length === 1 || series.total ? themed("--pd-series-fill") : undefined,
          spanGaps: false,
          points: { show: false },
        })),
      ],
      hooks: {
        setCursor: [() => this.readOut()],
        setSelect: [(u) => this.zoom(u)],
      },
    };
    this.plot = new window.uPlot(options, columns(this.rows, this.series), this.plotBox);
    this.plot.over.addEventListener("dblclick", () => this.onZoom(null));
  }

  zoom(u) {
    if (u.select.width < 4) return;
    const from = u.posToVal(u.select.left, "x");
    const to = u.posToVal(u.select.left + u.select.width, "x");
    u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.onZoom([from, to]);
  }

  /** Takes in new rows and draws what is to be seen; does nothing while nobody can see it. */
  draw() {
    if (!isVisible(this.plotBox) || !window.uPlot) return;
    const series = this.mine();
    const keys = `${store.selected} ${series.map((one) => one.key).join(" ")}`;
    this.rows = this.view.rows ?? store.rows;
    const rebuilt = keys !== this.keys || !this.plot;
    if (rebuilt) {
      this.keys = keys;
      this.series = series;
      this.build();
    } else {
      if (this.plot.width !== this.plotBox.clientWidth) {
        this.plot.setSize({ width: this.plotBox.clientWidth, height: this.height });
      }
      this.plot.setData(columns(this.rows, this.series), false);
    }
    const end = this.view.zoom ? this.view.zoom[1] : (this.view.heldAt ?? store.now());
    const start = this.view.zoom ? this.view.zoom[0] : this.begin(end);
    this.plot.setScale("x", { min: start, max: end });
    this.readOut();
    const none = this.rows.length === 0 || series.length === 0;
    setText(this.note, this.emptyText || (none ? "No samples yet: they come as soon as the workers answer." : ""));
  }

  /** Where the window begins: a young run fills its chart instead of standing at the right edge. */
  begin(end) {
    const first = this.rows.length > 0 ? this.rows[0][0] : end;
    return Math.max(end - this.view.windowS, Math.min(first, end - SHORTEST_S));
  }

  /** The range of the x axis, for tests and for the other charts. */
  range() {
    return this.plot ? [this.plot.scales.x.min, this.plot.scales.x.max] : null;
  }

  readOut() {
    const at = this.plot?.cursor.idx;
    const under = at !== null && at !== undefined && this.plot.cursor.left >= 0;
    setText(this.when, under ? clock(this.plot.data[0][at]) : "now");
    const value = (series, index) => {
      if (under) return this.plot.data[index + 1][at];
      const last = this.rows.at(-1)?.[1][series.key];
      return last === undefined ? null : last * series.scale;
    };
    keyed(
      this.legend,
      this.series.map((series, index) => ({ series, index })),
      ({ series }) => series.key,
      ({ series }) =>
        el(
          "li",
          { title: series.source || null },
          el("span", { class: "pd-swatch" }),
          el("span", { class: "pd-legendname" }, series.label),
          el("span", { class: "pd-legendvalue" }),
        ),
      (item, { series, index }) => {
        const slot = this.index(series);
        item.firstChild.style.background = slot < 0 ? "var(--pd-series-total)" : `var(--pd-series-${slot % 8})`;
        setText(item.lastChild, number(value(series, index)));
      },
    );
    const spoken = this.series.map((series, index) => `${series.label} ${number(value(series, index))} ${this.unit}`);
    this.plotBox.setAttribute("aria-label", `${this.title}: ${spoken.join(", ") || "no samples yet"}`);
  }
}
