// The card with all that is known of one device, beside the column of the picture that holds it.

import { el, setText } from "./dom.js";
import { cellNodes } from "./host-cells.js";
import { fillLive } from "./host-traffic.js";

const ROOM = 10;

function list(rows) {
  return el("dl", { class: "pd-hw-values" }, ...rows.flatMap(({ label, value }) => [el("dt", {}, label), el("dd", {}, ...cellNodes(value))]));
}

/** Makes the card; it lies in `stage`, whose corner its place is counted from. */
export function detailCard(stage, { onClose }) {
  const close = el("button", { type: "button", class: "pd-button pd-quiet", "aria-label": "Close the card", on: { click: (event) => onClose(event) } }, "Close");
  const title = el("h4", {});
  const body = el("div", { class: "pd-hw-cardbody" });
  const hint = el("p", { class: "pd-hint" }, "Click the device, or press Enter, to keep this open.");
  const node = el("aside", { class: "pd-hw-card", hidden: true, "aria-label": "Details of a device", "data-testid": "hardware-card" },
    el("div", { class: "pd-cardhead" }, title, close), body, hint);
  let shown = null;

  /** Puts the card beside `column`, level with `device`; at the foot of the screen where there is no room. */
  function place(device, column) {
    const [outer, beside, own] = [stage, column, device].map((one) => one.getBoundingClientRect());
    const width = node.offsetWidth;
    const right = beside.right + ROOM + width <= document.documentElement.clientWidth - ROOM;
    const left = beside.left - ROOM - width >= ROOM;
    node.classList.toggle("pd-sheet", !right && !left);
    if (!right && !left) {
      node.style.removeProperty("left");
      node.style.removeProperty("top");
      return;
    }
    const lowest = window.innerHeight - ROOM - node.offsetHeight;
    const top = Math.max(Math.min(own.top, lowest), Math.min(own.top, ROOM));
    node.style.left = `${(right ? beside.right + ROOM : beside.left - ROOM - width) - outer.left}px`;
    node.style.top = `${top - outer.top}px`;
  }

  return {
    node,
    get shown() {
      return shown;
    },
    show(id, detail, pinned, device, column) {
      const fresh = id !== shown;
      shown = id;
      node.hidden = false;
      node.classList.remove("pd-sheet");
      node.classList.toggle("pd-pinned", pinned);
      close.hidden = !pinned;
      hint.hidden = pinned;
      if (fresh) {
        setText(title, detail.title);
        const more = detail.more.length > 0
          ? el("details", { class: "pd-hw-evidence" }, el("summary", {}, `All other values (${detail.more.length})`), list(detail.more))
          : null;
        body.replaceChildren(list(detail.rows), ...(more ? [more] : []));
        body.scrollTop = 0;
        fillLive(node);
      }
      place(device, column);
    },
    hide() {
      shown = null;
      node.hidden = true;
    },
  };
}
