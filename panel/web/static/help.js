// What the page says of itself: the shortcuts and their switch, the words of the views, and the guide again.

import { ask } from "./dialog.js";
import { el } from "./dom.js";
import { showGuide } from "./guide.js";
import { setShortcuts, shortcutsOn, TABS } from "./shortcuts.js";

function keys(...names) {
  return names.flatMap((name, place) => (place === 0 ? [el("kbd", {}, name)] : [" then ", el("kbd", {}, name)]));
}

function shortcutTable() {
  const present = Object.entries(TABS).filter(([, [id]]) => document.getElementById(`pd-tab-${id}-button`));
  const rows = [
    ...present.map(([letter, [, name]]) => [keys("g", letter), `Open ${name}`]),
    [keys("g", "r"), "Choose the run"],
    [keys("/"), "Search in the logs, or in the open list"],
    [keys("?"), "This help"],
    [[el("kbd", {}, "Ctrl"), " + ", el("kbd", {}, "Enter")], "Send the prompt in Try it"],
    [keys("Esc"), "Close a dialog, dismiss a message"],
  ];
  return el("table", { class: "pd-table pd-keys" },
    el("caption", { class: "pd-unseen" }, "Keyboard shortcuts"),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Keys"), el("th", { scope: "col" }, "What they do"))),
    el("tbody", {}, ...rows.map(([pressed, what]) => el("tr", {}, el("td", {}, ...pressed), el("td", {}, what)))));
}

export async function showHelp() {
  const on = el("input", { type: "checkbox", id: "pd-shortcuts", checked: shortcutsOn(), "data-testid": "shortcuts-on" });
  on.addEventListener("change", () => setShortcuts(on.checked));
  const answer = await ask({
    title: "Help",
    testid: "help-dialog",
    body: [
      el("label", { class: "pd-check", for: "pd-shortcuts" }, on, el("span", {}, "Keyboard shortcuts of single letters")),
      shortcutTable(),
      el("p", { class: "pd-hint" }, "Arrow keys move between the tabs when one has the focus. The address of the page leads back to the tab and run that are open."),
    ],
    actions: [{ label: "Close", value: "" }, { label: "Show the first steps", value: "guide" }],
  });
  if (answer === "guide") showGuide();
}
