// The rows of a log that are in the page: one part of the file without a gap, bounded, which moves as one scrolls.

import { el, setAttribute, setText } from "./dom.js";

const MOST_ROWS = 1500;
const MOST_CHARACTERS = 1_500_000;
const NEAR_PX = 400;

const places = new Intl.NumberFormat("en");

/** The break between two starts of a process, and the one where a part of the log was cut out. */
function restartWords(text) {
  const time = /^\{"t": "([^"]{1,40})"/.exec(text);
  return time ? `The process starts again here, at ${time[1]}.` : text;
}

function rowNode(row, findings, onMark) {
  const node = el("div", { class: "pd-logrow", data: { at: row.at, pos: places.format(row.at) } });
  fill(node, row, findings, onMark);
  return node;
}

function fill(node, row, findings, onMark) {
  node.row = row;
  setAttribute(node, "data-level", row.level);
  setAttribute(node, "data-restart", row.restart);
  const finding = row.finding === undefined ? null : findings[row.finding];
  node.replaceChildren(row.restart ? restartWords(row.text) : row.text);
  if (finding) {
    node.prepend(
      el("button", {
        type: "button",
        class: "pd-logmark",
        "aria-label": `Explained: ${finding.id}`,
        title: finding.reason,
        data: { severity: finding.severity, testid: "log-mark" },
        on: { click: () => onMark(finding), focus: () => onMark(finding) },
      }),
    );
  }
}

export class LogPane {
  /** `load(side)` is asked for more rows when the reader comes near an edge; `onMark(finding)` explains a row. */
  constructor({ load, onMark, onPause }) {
    this.node = el("div", { class: "pd-log", tabindex: 0, role: "log", "aria-live": "off", "aria-label": "Log", "data-testid": "log" });
    this.onMark = onMark;
    this.load = load;
    this.onPause = onPause;
    this.follow = true;
    this.node.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.clear();
  }

  clear() {
    this.node.replaceChildren();
    this.start = 0;
    this.end = 0;
    this.size = 0;
    this.log = null;
    this.characters = 0;
    this.atEnd = false;
    this.last = { top: 0, height: 0 };
  }

  /** Shows these rows instead of those before; `at` is scrolled to, without it the end. */
  reset(page, at = null) {
    this.clear();
    this.log = page.log;
    this.start = page.start;
    this.add(page);
    if (at === null) this.toBottom();
    else this.show(at);
  }

  /** Adds rows that follow; an unfinished last one is replaced by its longer self. */
  add(page) {
    const fresh = page.rows.filter((row) => row.at >= this.end);
    const byPlace = this.node.lastElementChild;
    for (const row of fresh) {
      if (byPlace && byPlace.row.at === row.at) {
        this.characters += row.text.length - byPlace.row.text.length;
        fill(byPlace, row, page.findings, this.onMark);
      } else {
        this.node.append(rowNode(row, page.findings, this.onMark));
        this.characters += row.text.length;
      }
    }
    this.end = Math.max(this.end, page.end);
    this.size = page.size;
    const shown = fresh.at(-1)?.end ?? this.end;
    this.atEnd = Math.max(shown, this.end) >= page.size;
  }

  addBelow(page) {
    this.add(page);
    if (this.follow) {
      this.trim("top");
      this.toBottom();
    } else if (this.full()) {
      this.keepPlace(() => this.trim("top"));
    }
  }

  /** Adds rows that stand before the first one, and keeps the reader's place. */
  addAbove(page) {
    this.keepPlace(() => {
      this.node.prepend(...page.rows.map((row) => rowNode(row, page.findings, this.onMark)));
      for (const row of page.rows) this.characters += row.text.length;
      this.start = page.start;
      if (this.trim("bottom")) this.atEnd = false;
    });
  }

  keepPlace(change) {
    const top = this.node.scrollTop;
    const anchor = [...this.node.children].find((row) => row.offsetTop + row.offsetHeight > top) ?? null;
    const before = anchor?.offsetTop ?? 0;
    change();
    if (anchor?.isConnected) this.scrollTo(top + anchor.offsetTop - before);
  }

  full() {
    return this.node.childElementCount > MOST_ROWS || this.characters > MOST_CHARACTERS;
  }

  trim(side) {
    let cut = false;
    while (this.full()) {
      const node = side === "top" ? this.node.firstElementChild : this.node.lastElementChild;
      this.characters -= node.row.text.length;
      if (side === "top") this.start = node.row.end;
      else this.end = node.row.at;
      node.remove();
      cut = true;
    }
    return cut;
  }

  /** What the socket says of a growing file; returns false when the rows between are missing. */
  take(packet) {
    const other = packet.log !== this.log || packet.size < this.end;
    if (this.log === null || other || (packet.restarted && this.follow)) {
      this.reset(packet);
      return true;
    }
    this.size = packet.size;
    const follows = this.atEnd && !packet.restarted && packet.start <= this.end;
    if (!follows || (!this.follow && this.full())) {
      this.atEnd = false;
      return false;
    }
    this.addBelow(packet);
    return true;
  }

  rowAt(at) {
    let found = null;
    for (const node of this.node.children) {
      if (node.row.at > at) break;
      found = node;
    }
    return found && (found.row.end > at || !found.nextElementSibling) ? found : null;
  }

  holds(at) {
    return this.node.childElementCount > 0 && at >= this.start && at < Math.max(this.end, this.size * Number(this.atEnd));
  }

  /** Scrolls to the row of a place, and marks it. */
  show(at) {
    const node = this.rowAt(at) ?? this.node.firstElementChild;
    this.node.querySelector("[data-current]")?.removeAttribute("data-current");
    if (!node) return;
    node.setAttribute("data-current", "");
    this.scrollTo(node.offsetTop - this.node.clientHeight / 3);
  }

  /** The first row that the reader sees. */
  topPlace() {
    const top = this.node.scrollTop;
    const node = [...this.node.children].find((row) => row.offsetTop + row.offsetHeight > top);
    return node ? node.row.at : this.start;
  }

  current() {
    const node = this.node.querySelector("[data-current]");
    return node ? node.row : null;
  }

  text() {
    const chosen = getSelection();
    if (!chosen.isCollapsed && this.node.contains(chosen.anchorNode)) return chosen.toString();
    return [...this.node.children].map((node) => node.row.text).join("\n");
  }

  toBottom() {
    this.scrollTo(this.node.scrollHeight);
  }

  scrollTo(top) {
    this.node.scrollTop = top;
    this.last = { top: this.node.scrollTop, height: this.node.scrollHeight };
  }

  scrolled() {
    const { scrollTop: top, scrollHeight: height, clientHeight } = this.node;
    const up = top < this.last.top - 2 && height === this.last.height;
    this.last = { top, height };
    if (up && this.follow && top + clientHeight < height - 40) this.onPause();
    if (top < NEAR_PX && this.start > 0 && !this.follow) this.load("before");
    else if (top + clientHeight > height - NEAR_PX && !this.atEnd) this.load("after");
  }
}

/** One line that says which part of a log is shown. */
export function said(node, pane, words) {
  setText(node, words);
  setAttribute(node, "data-end", pane.atEnd);
}
