// The tables below the picture, and the one that only screen readers see: all that the detail cards say.

import { copyButton } from "./clipboard.js";
import { el } from "./dom.js";
import { cellNodes, cellText } from "./host-cells.js";

const WIDE = 6;
const LONG = 25;

/** Marks a cell with more than a line's worth of text; only such a one may take several lines. */
function lengthClass(value) {
  const text = typeof value === "string" ? value : "reason" in value ? "" : (value.code ?? value.text ?? "");
  return text.length > LONG ? "pd-hw-long" : null;
}

function slug(title) {
  return title.toLowerCase().replaceAll(/[^a-z]+/g, "-");
}

/** One table in a card of its own. */
export function tableCard({ title, columns, rows, empty, rest, copies = [] }) {
  const head = el("div", { class: "pd-cardhead" }, el("h3", {}, title), el("div", { class: "pd-actions" }, ...copies.map(({ label, text }) => copyButton(label, () => text))));
  const attributes = { class: `pd-card${rows.length > 0 && columns.length > WIDE ? " pd-hw-wide" : ""}`, "data-testid": `table-${slug(title)}` };
  if (rows.length === 0) return el("section", attributes, head, el("p", { class: "pd-hint" }, empty));
  return el(
    "section",
    attributes,
    head,
    el("div", { class: "pd-scroll", tabindex: 0, role: "region", "aria-label": title },
      el("table", { class: "pd-table pd-hw-table" },
        el("thead", {}, el("tr", {}, ...columns.map((column) => el("th", { scope: "col", class: lengthClass(column) }, column)))),
        el("tbody", {}, ...rows.map((row) =>
          el("tr", {}, ...row.map((value, index) =>
            el(index === 0 ? "th" : "td", { scope: index === 0 ? "row" : null, class: lengthClass(value) }, ...cellNodes(value)))))),
      ),
    ),
    rest ? el("p", { class: "pd-hint" }, rest) : null,
  );
}

/** What the picture and its cards show, as a table that takes no room on the screen. */
export function unseenTable(boxes, details) {
  const rows = [];
  for (const box of boxes) {
    const detail = details[box.id];
    if (!detail) continue;
    for (const { label, value } of [...detail.rows, ...detail.more]) {
      const text = cellText(value);
      if (text !== null) rows.push(el("tr", {}, el("th", { scope: "row" }, detail.title), el("td", {}, label), el("td", {}, text)));
    }
  }
  return el("div", { class: "pd-unseen", "data-testid": "hardware-unseen" },
    el("table", {},
      el("caption", {}, "Every device of the picture and what is known of it"),
      el("thead", {}, el("tr", {}, ...["Device", "What", "Value"].map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, ...rows)));
}
