// One page about a trace: where the time went as a bar and as numbers, what a step of each kind took, and its top operators.

import { el, keyed, setAttribute, setText } from "./dom.js";

// In the order in which the bar stacks them.
const PARTS = [
  ["compute_s", "Computing"],
  ["exchange_s", "Exchange with other ranks"],
  ["copy_s", "Copying KV to and from staging"],
  ["wait_s", "Waiting for work"],
];
const partOf = (name) => (name.startsWith("exchange: ") ? "exchange_s" : name.startsWith("copy KV") ? "copy_s" : "compute_s");

function seconds(value) {
  if (value > 0 && value < 1) return `${value < 0.1 ? (1000 * value).toFixed(1) : Math.round(1000 * value)} ms`;
  return `${value.toFixed(value === 0 ? 0 : 2)} s`;
}

/** A percentage; the space in it breaks no line. */
function share(part) {
  return part > 0 && part < 0.005 ? "<\u00a01\u00a0%" : `${Math.round(100 * part)}\u00a0%`;
}

const swatch = (part) => el("span", { class: "pd-profile-swatch", data: { part }, "aria-hidden": "true" });

/** A table whose first column is named and the others are numbers. */
function table(testid, caption, ...heads) {
  const body = el("tbody");
  const node = el("table", { class: "pd-table", "data-testid": testid }, el("caption", { class: "pd-profile-caption" }, caption),
    el("thead", {}, el("tr", {}, ...heads.map((text) => el("th", { scope: "col" }, text)))), body);
  return { node, body };
}

function row(cells, part = "") {
  return el("tr", {}, el("th", { scope: "row" }, part ? swatch(part) : null, el("span")), ...Array.from({ length: cells }, () => el("td", {})));
}

function fill(node, name, ...cells) {
  setText(node.firstChild.lastChild, name);
  cells.forEach((text, place) => setText(node.children[place + 1], text));
}

const stepWords = ({ name, count }) => `${count} ${name}${count === 1 ? "" : "s"}`;

function stepRow(node, one) {
  const { count, seconds: spent, longest_s: longest = 0, exchange_s: exchange = 0, copy_s: copy = 0 } = one;
  const of = (value) => seconds(value / count);
  fill(node, stepWords(one), of(spent), seconds(longest), of(Math.max(0, spent - exchange - copy)), of(exchange));
}

function beside(found) {
  const told = [];
  if (found.transfer_s > 0) {
    const hidden = share(found.hidden_s / found.transfer_s);
    told.push(`KV was under way to a peer for ${seconds(found.transfer_s)}, beside all that; ${hidden} of it while this worker computed.`);
  }
  if (found.gpu_s > 0) told.push(`The GPU was busy for ${seconds(found.gpu_s)}.`);
  if (!found.complete) told.push(`Of a longer trace the first ${found.events.toLocaleString("en-US")} events were read.`);
  return told.join(" ");
}

function headline(found, parts) {
  if (found.steps.length === 0) return `${seconds(found.seconds)} without a step: nothing was asked of this worker meanwhile.`;
  const steps = found.steps.map(stepWords).join(", ");
  const worked = parts.filter(({ name }) => name !== "wait_s");
  const most = worked.reduce((one, other) => (other.spent > one.spent ? other : one));
  const busy = worked.reduce((sum, { spent }) => sum + spent, 0);
  const why = busy > 0 ? ` Most of the work was ${most.title[0].toLowerCase()}${most.title.slice(1)} (${share(most.spent / busy)}).` : "";
  return `${steps} in ${seconds(found.seconds)}, ${share(busy / found.seconds)} of it at work.${why}`;
}

/** Returns {node, show(summary)}; null shows nothing. */
export function profilePage() {
  const says = el("p", { "data-testid": "profile-says" });
  const bar = el("div", { class: "pd-profile-bar", "aria-hidden": "true" });
  const times = table("profile-parts", "Where the time went", "Time", "Spent", "Share");
  const told = el("p", { class: "pd-hint" });
  const steps = table("profile-steps", "A step, on average", "Steps", "Each", "Longest", "Computing", "Exchange");
  const operators = table("profile-operators", "Operators by the time that they spent themselves", "Operator", "Itself", "Share", "Calls");
  const scroll = (label, node) => el("div", { class: "pd-scroll pd-profile-scroll", tabindex: 0, role: "group", "aria-label": label }, node);
  const stepsBox = scroll("Steps", steps.node);
  const operatorsBox = scroll("Top operators", operators.node);
  const node = el("div", { class: "pd-profile-page", hidden: true, "data-testid": "profile-page" }, says, bar, times.node, told, stepsBox, operatorsBox);
  return {
    node,
    show(found) {
      setAttribute(node, "hidden", found === null);
      if (found === null) return;
      const whole = found.seconds || 1;
      const parts = PARTS.map(([name, title]) => ({ name, title, spent: found[name] })).filter(({ name, spent }) => spent > 0 || ["compute_s", "wait_s"].includes(name));
      setText(says, headline(found, parts));
      keyed(bar, parts, ({ name }) => name, ({ name }) => el("span", { data: { part: name } }), (one, { spent }) => {
        one.style.flexGrow = String(spent / whole);
      });
      keyed(times.body, parts, ({ name }) => name, ({ name }) => row(2, name), (one, { title, spent }) => fill(one, title, seconds(spent), share(spent / whole)));
      setText(told, beside(found));
      setAttribute(told, "hidden", told.textContent === "");
      setAttribute(stepsBox, "hidden", found.steps.length === 0);
      // A worker of one rank has nobody to exchange with.
      setAttribute(steps.node, "data-alone", found.exchange_s === 0);
      keyed(steps.body, found.steps, ({ name }) => name, () => row(4), stepRow);
      setAttribute(operatorsBox, "hidden", found.operators.length === 0);
      const kinds = new Set(found.steps.map(({ name }) => name));
      keyed(operators.body, found.operators, ({ name }) => name, ({ name }) => row(3, partOf(name)), (one, { name, self_s: spent, share: part, count }) =>
        fill(one, kinds.has(name) ? `${name}: between operators` : name, seconds(spent), `${(100 * part).toFixed(1)} %`, count));
    },
  };
}
