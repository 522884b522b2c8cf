// Hands what the page has made or fetched to the browser as a download.

import { el } from "./dom.js";

/** Downloads `blob` as the file `name`. */
export function give(name, blob) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  // The download has begun once the click returned; a later turn lets slow browsers take the bytes.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
