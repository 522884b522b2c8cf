"""Makes a table out of releases: `python -m pdpanel.panel.flags.extract [-o FOLDER] WHEEL_OR_FOLDER...`.

Prints one table per engine, or writes FOLDER/ENGINE.json. The tables of this package were made by it, from the wheels
that each names under `versions`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from ...engine.errors import PdpanelError
from .declared import Declared, declared_keys, declared_options
from .sources import Sources, read_sources
from .table import Life, Option, Table, table_text
from .version import version_of

__all__ = ["main", "merged", "tables_of"]


def tables_of(releases: Iterable[Sources]) -> tuple[Table, ...]:
    """Returns the table of each engine among the releases; vLLM gives one of its KV transfer configuration, too."""
    tables: list[Table] = []
    ordered = sorted(releases, key=lambda release: (release.engine, version_of(release.version)))
    for engine, group in groupby(ordered, key=lambda release: release.engine):
        of_engine = list(group)
        tables.append(merged(engine, [(one.version, declared_options(one)) for one in of_engine]))
        if engine == "vllm":
            tables.append(merged("vllm-kv-transfer", [(one.version, declared_keys(one)) for one in of_engine]))
    return tuple(tables)


def merged(engine: str, releases: Sequence[tuple[str, Sequence[Declared]]]) -> Table:
    """Returns one table of what each release declares, oldest first."""
    versions = tuple(version for version, _ in releases)
    present: dict[str, list[tuple[int, Declared]]] = {}
    for number, (_, options) in enumerate(releases):
        for option in options:
            for name in option.names:
                present.setdefault(name, []).append((number, option))
    return Table(engine, versions, {name: _option(name, seen, versions) for name, seen in sorted(present.items())})


def _option(name: str, seen: Sequence[tuple[int, Declared]], versions: Sequence[str]) -> Option:
    last = seen[-1][1]
    deprecated = [(number, option) for number, option in seen if option.deprecated] if last.deprecated else []
    values = dict.fromkeys(value for _, option in reversed(seen) for value in option.choices)
    return Option(
        name,
        last.kind,
        _lives([number for number, _ in seen], versions),
        alias_of=last.names[0] if last.names[0] != name else "",
        deprecated=versions[deprecated[0][0]] if deprecated else "",
        instead=next((option.instead for _, option in reversed(deprecated) if option.instead), ""),
        values={value: _lives([number for number, one in seen if value in one.choices], versions) for value in values},
        open=_lives([number for number, option in seen if not option.choices], versions) if values else (),
    )


def _lives(numbers: Sequence[int], versions: Sequence[str]) -> tuple[Life, ...]:
    """Returns the spans of versions that these places among them make."""
    starts = [number for number in numbers if number - 1 not in numbers]
    ends = [number for number in numbers if number + 1 not in numbers]
    return tuple(
        Life(versions[start], versions[end + 1] if end + 1 < len(versions) else "")
        for start, end in zip(starts, ends, strict=True)
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints or writes the tables, and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pdpanel.panel.flags.extract", description=__doc__)
    parser.add_argument("path", nargs="+", type=Path, help="a wheel, or a folder with an installed engine")
    parser.add_argument("-o", "--output", type=Path, help="the folder to write ENGINE.json to")
    given = parser.parse_args(arguments)
    try:
        tables = tables_of([read_sources(path) for path in given.path])
    except PdpanelError as error:
        print(error, file=sys.stderr)
        return 2
    for table in tables:
        if given.output:
            given.output.joinpath(f"{table.engine}.json").write_text(table_text(table), "utf-8")
        else:
            sys.stdout.write(table_text(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
