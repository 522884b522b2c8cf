// A bug report about a run: which files it holds and what was taken out of them, then the zip file.

import * as actions from "./actions.js";
import { ask } from "./dialog.js";
import { el } from "./dom.js";
import { bytes } from "./format.js";
import { give } from "./give.js";
import { toast } from "./toast.js";

const taken = (redacted) => Object.entries(redacted).map(([kind, count]) => `${count} × ${kind}`).join(", ");

function listing({ files, bytes: size, redacted }) {
  const rows = files.map((file) => el("tr", {},
    el("th", { scope: "row", class: "pd-name" }, file.name), el("td", {}, bytes(file.bytes)), el("td", {}, taken(file.redacted) || "–")));
  const head = el("tr", {}, ...["File", "Size", "Taken out"].map((name) => el("th", { scope: "col" }, name)));
  const secrets = taken(redacted);
  return [
    el("p", {}, `It holds ${files.length} files, ${bytes(size)} before it is packed. ${secrets ? `Taken out: ${secrets}.` : "No secrets were found in it."}`),
    el("div", { class: "pd-scroll pd-prune-box", tabindex: 0, role: "group", "aria-label": "Files of the report" },
      el("table", { class: "pd-table pd-report-list" }, el("caption", { class: "pd-unseen" }, "Files of the report"), el("thead", {}, head), el("tbody", {}, rows))),
    el("p", { class: "pd-hint" }, "Tokens, keys, home directories and your name are taken out. IP addresses, names of hosts, and prompts that a log repeats stay: look through the file before you send it."),
  ];
}

/** Shows what a report about the run would hold, and downloads it when the person says so; `gathered` is called before it asks. */
export async function bugReport(run, gathered) {
  const listed = await actions.reportOf(run.id);
  gathered();
  const answer = await ask({
    title: `Bug report about ${run.id}`, body: listing(listed), testid: "bug-report",
    actions: [{ label: "Cancel", value: "" }, { label: "Download", value: "yes", tone: "primary" }],
  });
  if (answer !== "yes") return;
  const { name, blob } = await actions.packedReport(run.id);
  give(name, blob);
  toast(`${name} (${bytes(blob.size)}) was downloaded. Look through it before you send it.`, { tone: "good" });
}
