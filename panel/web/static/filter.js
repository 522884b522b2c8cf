// A filter above a long list: appears when there are many rows, keeps those that hold every word.

import { el, setText } from "./dom.js";

const MANY = 20;
let number = 0;

/** Returns {node, keep(items, words)}; `words(item)` is the text to look in, `changed` is called when the person types. */
export function rowFilter(what, changed) {
  number += 1;
  const id = `pd-filter-${number}`;
  const input = el("input", { id, type: "search", autocomplete: "off", spellcheck: "false", placeholder: "words, such as decode ready" });
  const count = el("span", { class: "pd-hint", role: "status" });
  const node = el("div", { class: "pd-toolbar", hidden: true, "data-testid": "filter" },
    el("label", { class: "pd-inline", for: id }, el("span", {}, `Filter ${what}`), input), count);
  input.addEventListener("input", changed);
  return {
    node,
    keep(items, words) {
      node.hidden = items.length <= MANY;
      const wanted = node.hidden ? [] : input.value.toLowerCase().split(/\s+/).filter(Boolean);
      if (wanted.length === 0) {
        setText(count, "");
        return items;
      }
      const kept = items.filter((item) => {
        const text = words(item).toLowerCase();
        return wanted.every((word) => text.includes(word));
      });
      setText(count, `${kept.length} of ${items.length}`);
      return kept;
    },
  };
}
