// One chart of Observe: draws its series of the shared frame while it can be seen; zoom, cursor and keys act on all charts.

import { plotOptions } from "./chart-plot.js";
import { el, setAttribute, setHidden, setText } from "./dom.js";
import { savePng } from "./download.js";
import { clock, number } from "./format.js";
import { Legend } from "./legend.js";
import { seriesOf } from "./observe-charts.js";
import { scaled } from "./units.js";

const HEIGHT = 190;
// Samples come twice a second, and the numbers above the charts show each; a picture of many charts need not.
const FASTEST_MS = { wide: 950, small: 1950 };
const SLOWEST_MS = 2950;
const STEPS = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20, Home: -1e9, End: 1e9 };

export class Chart {
  shape = { divisor: 1, limit: null, toLimit: false };
  keys = "";
  lines = [];
  all = [];
  looked = [];
  width = 0;
  drawnMs = -1e9;
  isNear = true;
  blanks = [];
  isUnder = false;

  /** `definition` is one of observe-charts.js; `timebase` is shared; `limitOf(chart)` gives {value, text, share(now)} or null. */
  constructor(definition, timebase, limitOf = () => null) {
    this.definition = definition;
    this.timebase = timebase;
    this.limitOf = limitOf;
    const { name, title } = definition;
    this.legend = new Legend(title, () => this.draw());
    this.unit = el("span", { class: "pd-unit" });
    this.when = el("span", { class: "pd-when" });
    this.share = el("span", { class: "pd-share", data: { testid: `share-${name}` } });
    this.toLimit = el("button", { type: "button", class: "pd-button pd-quiet", "aria-pressed": "false", hidden: true, data: { testid: `limit-${name}` } }, "Scale to limit");
    this.save = el("button", { type: "button", class: "pd-button pd-quiet", "aria-label": `Save ${title} as PNG`, data: { testid: `png-${name}` } }, "PNG");
    this.plotBox = el("div", {
      class: "pd-plot",
      role: "img",
      "aria-label": title,
      tabindex: "0",
      "aria-keyshortcuts": "ArrowLeft ArrowRight + - Escape",
      data: { chart: name },
    });
    // The page must not jump when a chart that comes into sight is drawn.
    this.plotBox.style.minHeight = `${definition.height ?? HEIGHT}px`;
    this.node = el(
      "section",
      { class: `pd-card pd-chart${definition.wide ? " pd-wide" : ""}`, "aria-label": title },
      el("div", { class: "pd-charthead" }, el("h4", {}, title, this.unit), this.share, el("div", { class: "pd-chartend" }, this.when, this.toLimit, this.save)),
      this.legend.node,
      this.plotBox,
    );
    this.listen();
    window.pdpanel.charts[name] = this;
  }

  listen() {
    // Asking for a width between two changes of the page makes the browser lay it out each time.
    new ResizeObserver((entries) => {
      this.width = Math.floor(entries.at(-1).contentRect.width);
      if (this.width === 0) this.leave();
      this.draw();
    }).observe(this.plotBox);
    new MutationObserver(() => this.plot?.redraw(false)).observe(document.body, { attributeFilter: ["class"] });
    // Drawing what is scrolled out of sight costs as much as drawing what is seen.
    new IntersectionObserver((entries) => {
      this.isNear = entries.at(-1).isIntersecting;
      if (this.isNear) this.draw();
    }).observe(this.node);
    this.timebase.on(["view"], () => this.draw());
    this.timebase.on(["cursor"], () => this.follow());
    this.plotBox.addEventListener("keydown", (event) => this.key(event));
    this.plotBox.addEventListener("blur", () => {
      if (!this.isUnder) this.timebase.setAt(null);
    });
    this.toLimit.addEventListener("click", () => {
      this.shape.toLimit = !this.shape.toLimit;
      this.toLimit.setAttribute("aria-pressed", String(this.shape.toLimit));
      this.draw();
    });
    this.save.addEventListener("click", () => savePng(this));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { key } = event;
    if (key in STEPS) this.timebase.step(STEPS[key] * (event.shiftKey ? 10 : 1));
    else if (key === "+" || key === "=") this.timebase.scale(0.5);
    else if (key === "-") this.timebase.scale(2);
    else if (key === "Escape") {
      this.timebase.setAt(null);
      this.timebase.setZoom(null);
    } else return;
    event.preventDefault();
  }

  isSeen() {
    return this.isNear && this.width > 0 && !document.hidden;
  }

  /** Looks which series there are; false when none ever had a value. */
  look() {
    const { frame, series } = this.timebase;
    const looked = [frame, series, frame.seen.size];
    if (looked.every((part, place) => part === this.looked[place])) return this.all.length > 0;
    this.looked = looked;
    this.all = seriesOf(this.definition, series, (key) => frame.seen.has(key));
    return this.all.length > 0;
  }

  build() {
    this.plot?.destroy();
    const options = plotOptions({
      width: this.width,
      height: this.definition.height ?? HEIGHT,
      lines: this.lines,
      hasPeaks: this.timebase.frame.peaks !== null,
      shape: this.shape,
      onCursor: (u) => this.hover(u),
      onSelect: (u) => this.zoom(u),
    });
    this.plot = new window.uPlot(options, this.data(), this.plotBox);
    this.plot.over.addEventListener("pointerenter", () => {
      this.isUnder = true;
    });
    this.plot.over.addEventListener("pointerleave", () => this.leave());
    this.plot.over.addEventListener("dblclick", () => this.timebase.setZoom(null));
  }

  data() {
    const { frame } = this.timebase;
    const columns = [frame, frame.peaks].filter(Boolean).flatMap((from) => this.lines.map((one) => from.column(one.key) ?? this.blank(frame.times.length)));
    return [frame.times, ...columns];
  }

  /** A column without values. */
  blank(length) {
    if (this.blanks.length !== length) this.blanks = new Array(length).fill(null);
    return this.blanks;
  }

  zoom(u) {
    if (u.select.width < 4) return;
    const from = u.posToVal(u.select.left, "x");
    const to = u.posToVal(u.select.left + u.select.width, "x");
    u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.timebase.setZoom([from, to]);
  }

  /** The mouse moved over this chart, or the samples moved below it. */
  hover(u) {
    if (!this.isUnder) return;
    const { left, idx } = u.cursor;
    this.timebase.setAt(left >= 0 && idx !== null && idx !== undefined ? u.data[0][idx] : null);
  }

  leave() {
    if (!this.isUnder) return;
    this.isUnder = false;
    this.timebase.setAt(null);
  }

  /** Puts the cursor where another chart or the keyboard has put it. */
  follow() {
    if (!this.plot || !this.isSeen()) return;
    const { at } = this.timebase;
    if (!this.isUnder) {
      const left = at === null ? -10 : this.plot.valToPos(at, "x");
      this.plot.setCursor({ left, top: at === null ? -10 : 20 }, false);
    }
    this.readOut();
  }

  /** Draws new samples, but no sooner than they move the picture by a pixel. */
  tick() {
    const [begin, end] = this.timebase.range();
    const pixelMs = (1000 * (end - begin)) / Math.max(1, this.width);
    const fastestMs = this.definition.wide ? FASTEST_MS.wide : FASTEST_MS.small;
    if (performance.now() - this.drawnMs >= Math.min(SLOWEST_MS, Math.max(fastestMs, pixelMs))) this.draw();
  }

  /** Draws what is to be seen; does nothing while nobody can see it. */
  draw() {
    if (!this.isSeen() || !window.uPlot) return;
    this.drawnMs = performance.now();
    const { frame } = this.timebase;
    const [begin, end] = this.timebase.range();
    this.legend.choose(this.all, (key) => frame.peak(key, begin));
    const lines = this.legend.drawn();
    const most = Math.max(0, ...lines.map((one) => frame.peak(one.key, begin) ?? 0));
    const { divisor, label } = scaled(this.definition.unit, most);
    this.shape.divisor = divisor;
    setText(this.unit, label);
    this.tellLimit(most);
    const keys = lines.map((one) => `${one.key}${one.slot}`).join(" ") + (frame.peaks ? " peaks" : "");
    if (keys !== this.keys || !this.plot) {
      this.keys = keys;
      this.lines = lines;
      this.build();
    } else {
      if (this.plot.width !== this.width) this.plot.setSize({ width: this.width, height: this.plot.height });
      this.plot.setData(this.data(), false);
    }
    this.plot.setScale("x", { min: begin, max: end });
    if (this.timebase.at === null) this.readOut();
    else this.follow();
  }

  tellLimit(most) {
    const limit = this.limitOf(this);
    this.shape.limit = limit;
    setText(this.share, limit?.used ?? "");
    setHidden(this.toLimit, !limit || limit.value <= most * 2);
  }

  /** The range of the x axis, for tests. */
  range() {
    return this.plot ? [this.plot.scales.x.min, this.plot.scales.x.max] : null;
  }

  /** The number of a series at the cursor, or now, in the chart's unit. */
  valueOf(key) {
    const { frame, at } = this.timebase;
    const value = at === null ? frame.newest(key) : (frame.column(key)?.[frame.nearest(at)] ?? null);
    return value === null ? null : value / this.shape.divisor;
  }

  readOut() {
    const { frame, at, past, paused } = this.timebase;
    const place = at === null ? null : frame.nearest(at);
    setText(this.when, place === null ? (past || paused ? "at the end" : "now") : clock(frame.times[place]));
    this.legend.show((key) => number(this.valueOf(key)));
    const spoken = this.lines.map((one) => `${one.name} ${number(this.valueOf(one.key))} ${this.unit.textContent}`);
    setAttribute(this.plotBox, "aria-label", `${this.definition.title}, ${this.when.textContent}: ${spoken.join(", ") || "nothing is shown"}`);
  }
}
