// Hands a file that the page has made or fetched to the browser as a download.

import { el } from "./dom.js";

export function give(name, blob) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
