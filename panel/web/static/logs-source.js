// One log as the server gives it: windows of rows, search and times. No answer is large, whatever the file's length.

import { sentence } from "./actions.js";
import { url } from "./base.js";

export const END = Number.MAX_SAFE_INTEGER;

export class LogSource {
  constructor(run, process) {
    this.run = run;
    this.process = process;
    this.path = `/api/runs/${encodeURIComponent(run)}/logs/${encodeURIComponent(process)}`;
  }

  get fileUrl() {
    return url(`${this.path}/file`);
  }

  get socketPath() {
    return `/api/log?run=${encodeURIComponent(this.run)}&process=${encodeURIComponent(this.process)}`;
  }

  async ask(what, values, signal) {
    let response;
    try {
      response = await fetch(url(`${this.path}/${what}?${new URLSearchParams(values)}`), { cache: "no-store", signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The panel does not answer; is it still running?");
    }
    if (!response.ok) throw new Error(await sentence(response));
    return response.json();
  }

  /** The rows before, after or around a place: {rows, findings, start, end, size, log, more}. */
  async page(side, at, level, signal) {
    if (level === "all") {
      const page = await this.ask("rows", { side, at }, signal);
      return { ...page, more: side === "before" ? page.start > 0 : page.rows.length > 0 };
    }
    const backward = side === "before";
    const page = await this.ask("search", { at, level, backward, show: true }, signal);
    return { ...page, start: backward ? page.at : at, end: backward ? Math.min(at, page.size) : page.at, more: !page.done };
  }

  /** One slice of a search: {hits, at, done, size}. */
  search(query, values, signal) {
    return this.ask("search", { ...query, ...values }, signal);
  }

  /** Where the first line of a time or a later one stands. */
  async placeOfTime(text) {
    return (await this.ask("time", { text })).at;
  }
}
