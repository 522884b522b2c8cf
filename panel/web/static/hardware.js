// The Hardware tab: what the host has, as the panel's server found it.

import { el, setText } from "./dom.js";
import { sentence } from "./actions.js";

function table({ title, columns, rows, empty }) {
  const head = el("h3", {}, title);
  if (rows.length === 0) return el("section", { class: "pd-card" }, head, el("p", { class: "pd-hint" }, empty));
  return el(
    "section",
    { class: "pd-card" },
    head,
    el("div", { class: "pd-scroll", tabindex: 0, role: "region", "aria-label": title },
      el("table", { class: "pd-table" },
        el("thead", {}, el("tr", {}, ...columns.map((column) => el("th", { scope: "col" }, column)))),
        el("tbody", {}, ...rows.map((row) =>
          el("tr", {}, ...row.map((value, index) =>
            index === 0 ? el("th", { scope: "row" }, value) : el("td", {}, value))))),
      ),
    ),
  );
}

function note({ severity, title, text }) {
  return el(
    "li",
    { class: "pd-finding", data: { severity } },
    el("span", { class: "pd-severity" }, severity),
    el("div", {}, el("b", {}, title), el("p", {}, text)),
  );
}

export function hardware(island) {
  const refresh = el("button", { type: "button", class: "pd-button" }, "Look again");
  const state = el("span", { class: "pd-hint", role: "status" });
  const content = el("div", { class: "pd-stack", "data-testid": "hardware" });
  island.append(el("div", { class: "pd-stack" }, el("div", { class: "pd-toolbar" }, refresh, state), content));

  async function load() {
    refresh.disabled = true;
    setText(state, "Looking at the host …");
    try {
      const response = await fetch("/api/hardware", { cache: "no-store" });
      if (!response.ok) throw new Error(await sentence(response));
      const host = await response.json();
      content.replaceChildren(
        el("dl", { class: "pd-tiles" }, ...host.facts.map(({ label, value }) =>
          el("div", { class: "pd-tile" }, el("dt", {}, label), el("dd", { class: "pd-fact" }, value)))),
        el("section", { class: "pd-card" },
          el("h3", {}, "Notes for PD serving"),
          host.notes.length === 0
            ? el("p", { class: "pd-hint" }, "Nothing to remark.")
            : el("ul", { class: "pd-findings" }, ...host.notes.map(note))),
        el("div", { class: "pd-pair" }, ...host.tables.map(table)),
      );
      setText(state, "");
    } catch (error) {
      setText(state, error.message);
    } finally {
      refresh.disabled = false;
    }
  }

  refresh.addEventListener("click", load);
  load();
}
