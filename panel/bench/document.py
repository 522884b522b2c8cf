"""docs/benchmarks.md and its charts, from the files of results beside it; `make docs/benchmarks.md` runs it.

Results are `DOCS/benchmarks/*.jsonl`, as `pdpanel bench SUITE -o` writes them. What stands between a suite's markers in
the page is replaced; the rest of the page is written by hand and stays.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ...engine.errors import ConfigError, PdpanelError
from .charts import number
from .machine import machine_text
from .plots import plots_of
from .records import Record, Results, read_results
from .suite import SUITES

__all__ = ["FOLDER", "PAGE", "filled", "made", "read_all"]

PAGE, FOLDER = "benchmarks.md", "benchmarks"
_COLUMNS = "| case | measure | ours | peer | ratio | goal | |\n|---|---|---|---|---|---|---|"


def read_all(docs: Path) -> list[Results]:
    """Returns every file of results, by name; runs of `--short` are refused, since their times mean nothing.

    Raises:
        ConfigError: a file is none, or of a short run.
    """
    found = [read_results(path) for path in sorted((docs / FOLDER).glob("*.jsonl"))]
    for results in found:
        if results.options.get("short"):
            name = f"{FOLDER}/{results.name}.jsonl"
            raise ConfigError("results", name, "come from a run with --short", "run the suite without it")
    return found


def made(docs: Path) -> dict[Path, str]:
    """Returns the text of every file that is generated.

    Raises:
        ConfigError: a file of results, or a marker of the page, is not as it should be.
    """
    results = read_all(docs)
    page = docs / PAGE
    files = {page: filled(page.read_text(encoding="utf-8"), results)}
    for one in results:
        files |= {docs / FOLDER / name: text for name, text in plots_of(one).items()}
    return files


def filled(page: str, results: Sequence[Results]) -> str:
    """Returns the page with each suite's results between its markers.

    Raises:
        ConfigError: a suite's markers are missing.
    """
    for suite in SUITES:
        begin, end = f"<!-- results of {suite} -->\n", f"<!-- end of {suite} -->"
        before, found_begin, rest = page.partition(begin)
        _, found_end, after = rest.partition(end)
        if not found_begin or not found_end:
            raise ConfigError(PAGE, suite, "has no markers for its results", f"put {begin.strip()} and {end} back")
        blocks = [_block(one) for one in results if one.suite == suite]
        if not blocks:
            blocks = [f"No results are stored: `pdpanel bench {suite} -o docs/{FOLDER}/{suite}.jsonl` makes them.\n"]
        page = before + begin + "\n" + "\n".join(blocks) + "\n" + end + after
    return page


def _block(results: Results) -> str:
    options = results.options
    asked = [f"--rounds {options['rounds']}"] if "rounds" in options else []
    asked += [f"--seed {options['seed']}"] if options.get("seed") else []
    asked += [f'--case "{case}"' for case in options.get("cases", ())]
    asked += [f"--model {options['model']}"] if options.get("model") else []
    command = " ".join(["pdpanel bench", results.suite, *asked, f"-o docs/{FOLDER}/{results.name}.jsonl"])
    met = sum(record.met is True for record in results.goals)
    lines = [
        f"`{command}`",
        "",
        f"On {machine_text(results.machine)}.",
        "",
        f"{met} of {len(results.goals)} goals are met." if results.goals else "No figure has a goal here.",
        "",
    ]
    lines += [f"![{_title(name)}]({FOLDER}/{name})\n" for name in plots_of(results)]
    if results.goals:
        lines += [_COLUMNS, *map(_row, results.goals), ""]
    others = [record for record in results.records if record.goal is None]
    if others:
        said = f"<details><summary>The other {len(others)} figures</summary>\n"
        lines += [said, _COLUMNS, *map(_row, others), "", "</details>", ""]
    lines += _notes(results.records)
    return "\n".join(lines)


def _row(record: Record) -> str:
    ours = _amount(record.value, record.unit)
    if record.least is not None and record.most is not None and record.most > record.least:
        ours += f" ({number(record.least)} to {number(record.most)})"
    peer = f"{record.peer}: {_amount(record.peer_value, record.unit)}" if record.peer else ""
    # A digit more than the times: it is held against a bound.
    ratio = f"{record.ratio:.4g}" if record.ratio is not None else ""
    goal = "" if record.goal is None else str(record.goal)
    met = {True: "met", False: "**missed**", None: ""}[record.met]
    return "| " + " | ".join(map(_cell, (record.case, record.metric, ours, peer, ratio, goal, met))) + " |"


def _amount(value: float | None, unit: str) -> str:
    return "not measured" if value is None else f"{number(value)} {unit}".strip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _notes(records: Iterable[Record]) -> Iterator[str]:
    """Yields the notes, each once, with what it belongs to."""
    said: dict[str, list[str]] = {}
    for record in records:
        if record.note:
            said.setdefault(record.note, []).append(f"{record.case} {record.metric}")
    if said:
        for note, names in said.items():
            first = list(dict.fromkeys(names))
            more = f" and {len(first) - 1} more" if len(first) > 1 else ""
            yield f"- {first[0]}{more}: {note}"
        yield ""


def _title(name: str) -> str:
    return name.removesuffix(".svg").replace("-", " ")


def main(arguments: Sequence[str]) -> int:
    """Writes the page and the charts; returns the exit status."""
    docs = Path(arguments[0]) if arguments else Path("docs")
    try:
        files = made(docs)
        for left in (docs / FOLDER).glob("*.svg"):
            if left not in files:
                left.unlink()
        for path, text in files.items():
            path.write_text(text, encoding="utf-8")
    except (PdpanelError, OSError) as error:
        print(f"pdpanel: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
