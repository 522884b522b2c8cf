// Where the panel is: behind a proxy it may live below a prefix. The one place that makes addresses of our routes.

// This file lies in the folder of static files, one step below the panel's root, whatever comes before that.
const ROOT = new URL("../", import.meta.url);

/** The address of one of our routes; `path` begins with a slash, as in "/api/runs". */
export function url(path) {
  return new URL(`.${path}`, ROOT).href;
}

/** The same for a WebSocket. */
export function socketUrl(path) {
  return url(path).replace(/^http/, "ws");
}
