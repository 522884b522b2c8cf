// The form beside the YAML: it shows what the chosen dialect knows, and what is wrong beside the field that it is about.

import { control, isWide } from "./plan-controls.js";
import { plan } from "./plan-store.js";
import { el, setAttribute, setText } from "./dom.js";

const FIRST = new Set(["what", "engine"]);
const SEVERITIES = { error: "Error", warning: "Warning", info: "Note", unknown: "Not known" };

/** Text with its `code` parts as code. */
export function proseNodes(text) {
  return text.split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));
}

function row(field, context) {
  const id = `pd-plan-${field.path.replaceAll(/[^\w]+/g, "-")}`;
  const made = control(field, (shown) => context.tell(field, shown), context);
  const label = el("label", { for: id, title: field.path }, field.label);
  const help = el("p", { class: "pd-plan-help", id: `${id}-help` }, ...proseNodes(field.help));
  const note = el("p", { class: "pd-plan-note", id: `${id}-note`, hidden: true });
  const remove = el("button", { type: "button", class: "pd-button pd-quiet", hidden: true, "aria-label": `Remove ${field.path}` }, "Remove");
  remove.addEventListener("click", () => plan.edit(field.path, ""));
  made.inputs[0].id = id;
  for (const input of made.inputs) input.setAttribute("aria-describedby", `${id}-help ${id}-note`);
  const wide = isWide(field);
  const ticks = field.kind === "bool" || field.kind === "part";
  const node = el("div", { class: `pd-plan-row${wide ? " pd-plan-wide" : ""}${ticks ? " pd-plan-tick" : ""}`, data: { path: field.path } },
    el("div", { class: "pd-plan-label" }, label, field.help ? help : null), el("div", { class: "pd-plan-control" }, made.node, remove), note);
  return { field, node, made, note, remove };
}

function section(about, rows) {
  const count = el("span", { class: "pd-plan-count" });
  const mark = el("span", { class: "pd-plan-mark", hidden: true }, "needs a look");
  const own = rows.filter(({ field }) => field.own);
  const ownBox = el("details", { class: "pd-plan-own" }, el("summary", {}, "Otherwise than all workers"), ...own.map(({ node }) => node));
  // Where the form comes before all else, less of it is open.
  const open = about.open && (window.innerWidth > 900 || FIRST.has(about.id));
  const node = el("details", { class: "pd-plan-section", open, data: { section: about.id } },
    el("summary", {}, el("span", {}, about.title), mark, count),
    el("div", { class: "pd-plan-rows" }, ...rows.filter(({ field }) => !field.own).map(({ node: one }) => one), own.length > 0 ? ownBox : null));
  return { node, rows, count, mark, own, ownBox };
}

/** The ports that the plan gave, for those that nobody wished. */
function plannedPorts() {
  const ports = {};
  for (const node of plan.good?.nodes ?? []) {
    for (const entry of node.entries) {
      if (entry.kind !== "command") continue;
      for (const [purpose, port] of Object.entries(entry.ports)) {
        const path = `${entry.role}.${purpose === "http" ? "port" : `${purpose}_port`}`;
        ports[path] ??= String(port);
      }
    }
  }
  return ports;
}

/** Where a message belongs: the row of its field, or of the nearest part above. */
function nearest(rows, path) {
  const names = path.split(".");
  for (let length = names.length; length > 0; length -= 1) {
    const found = rows.get(names.slice(0, length).join("."));
    if (found) return found;
  }
  return null;
}

export function planForm() {
  const node = el("div", { class: "pd-plan-form", "data-testid": "plan-form" });
  const foreign = el("p", { class: "pd-notice", role: "status", hidden: true, "data-testid": "plan-foreign" });
  const about = el("p", { class: "pd-hint", "data-testid": "plan-dialect" });
  const rows = new Map();
  let sections = [];
  let told = "";

  const context = {
    dialect: () => plan.form.dialects.find(({ name }) => name === plan.dialect),
    dialects: () => plan.form.dialects,
    policies: () => plan.form.policies,
    value: (path) => plan.values[path],
    tell(field, shown) {
      if (field.path === "engine") chooseEngine(shown);
      else if (field.path === "dialect") fit(plan.form.dialects.find(({ name }) => name === shown));
      plan.edit(field.path, shown);
    },
  };

  /** What cannot stay under another dialect is left out: a kind of router, a transport. */
  function fit(dialect) {
    if (!dialect) return;
    const transport = plan.values.transport ?? "mooncake";
    if (!dialect.transports.includes(transport)) plan.edit("transport", dialect.transports[0] === "mooncake" ? "" : dialect.transports[0]);
    const kind = plan.values["router.kind"];
    if (kind && !dialect.routers.includes(kind)) plan.edit("router.kind", "");
  }

  function chooseEngine(engine) {
    const dialect = plan.form.dialects.find(({ name }) => name === plan.values.dialect);
    if (dialect && dialect.engine !== engine) plan.edit("dialect", "");
    // A version belongs to its engine.
    if (plan.values.engine_version) plan.edit("engine_version", "");
    fit(plan.form.dialects.find((one) => one.engine === engine));
  }

  function build() {
    rows.clear();
    sections = plan.form.sections.map((one) => {
      const own = plan.form.fields.filter((field) => field.section === one.id).map((field) => row(field, context));
      for (const each of own) rows.set(each.field.path, each);
      return section(one, own);
    });
    node.replaceChildren(about, foreign, ...sections.map((one) => one.node));
  }

  function messages() {
    const found = new Map();
    const put = (path, severity, text) => {
      const place = path ? nearest(rows, path) : null;
      if (place) found.set(place, [...(found.get(place) ?? []), { severity, text, exact: place.field.path === path }]);
    };
    const { error, findings = [] } = plan.answer ?? {};
    if (error?.field) put(error.field, "error", `${error.value ? `${error.value} ` : ""}${error.problem}; ${error.remedy}.`);
    for (const one of findings) put(one.field, one.severity, [one.reason, one.remedy].filter(Boolean).join(" "));
    return found;
  }

  function update() {
    if (!plan.form || !plan.answer) return;
    const dialect = context.dialect();
    const known = new Set(dialect?.fields ?? []);
    const ports = plannedPorts();
    const found = messages();
    setText(about, dialect ? `${dialect.title}: ${dialect.about}` : "");
    for (const each of rows.values()) {
      const { field, made, note } = each;
      const value = plan.values[field.path];
      const isSet = value !== undefined && !(field.kind === "part" && value === false);
      const said = found.get(each) ?? [];
      const strange = isSet && !known.has(field.path);
      made.set(value);
      if (ports[field.path]) made.hint?.(ports[field.path]);
      each.node.hidden = !(known.has(field.path) || isSet || said.length > 0);
      each.isSet = isSet;
      each.said = said;
      each.remove.hidden = !strange;
      const worst = said.find(({ severity }) => severity === "error") ?? said[0];
      setAttribute(each.node, "data-severity", worst?.severity ?? null);
      for (const input of made.inputs) setAttribute(input, "aria-invalid", worst?.severity === "error" ? "true" : null);
      note.hidden = said.length === 0;
      setText(note, said.map(({ severity, text }) => `${SEVERITIES[severity] ?? severity}: ${text}`).join("\n"));
    }
    for (const one of sections) {
      one.node.hidden = one.rows.every(({ node: each }) => each.hidden);
      if (one.own.length > 0) one.ownBox.hidden = one.own.every(({ node: each }) => each.hidden);
      const count = one.rows.filter(({ isSet }) => isSet).length;
      setText(one.count, count === 0 ? "" : `${count} set`);
      one.mark.hidden = !one.rows.some(({ said }) => said?.some(({ severity }) => severity === "error"));
    }
    openTrouble(found);
    const strangers = plan.answer.foreign ?? [];
    foreign.hidden = strangers.length === 0;
    if (strangers.length > 0) {
      const all = el("button", { type: "button", class: "pd-button", on: { click: () => strangers.forEach((path) => plan.edit(path, "")) } }, "Remove");
      foreign.replaceChildren(el("span", {}, `${dialect?.title ?? plan.dialect} makes nothing of ${strangers.join(", ")}.`), all);
    }
  }

  /** Opens the section of a new error, once. */
  function openTrouble(found) {
    const text = plan.answer.error?.text ?? "";
    if (text === told) return;
    told = text;
    for (const [each, said] of found) {
      if (!said.some(({ severity }) => severity === "error")) continue;
      for (let box = each.node.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
    }
  }

  plan.on(["form"], build);
  plan.on(["answer", "form"], update);
  return {
    node,
    /** Brings the field that an error names into sight. */
    show(path) {
      const place = nearest(rows, path);
      if (!place) return;
      for (let box = place.node.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
      place.node.scrollIntoView({ block: "center" });
      place.made.inputs[0].focus();
    },
    has: (path) => nearest(rows, path) !== null,
  };
}
