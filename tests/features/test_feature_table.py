"""Every row of the feature table has a test, and the README's table says how each is covered."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from feature_rows import KINDS, ROOT

LAST = 151
SEEDS = {"000": range(1, 35), "001": range(35, 62), "002": range(62, 95), "003": range(95, 123), "004": range(123, 152)}


def modules() -> Iterator[ModuleType]:
    for path in sorted(Path(__file__).parent.glob("test_seed_*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def covered() -> dict[int, str]:
    rows: dict[int, str] = {}
    for module in modules():
        for name, value in vars(module).items():
            marks = getattr(value, "feature_rows", None)
            if not name.startswith("test_") or marks is None:
                continue
            for number in marks[0]:
                assert number not in rows, f"row {number} has two tests"
                rows[number] = marks[1]
    return rows


def table() -> dict[int, str]:
    """The README's table: a line per document, a column per kind, rows as numbers and ranges."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("| document | " + " | ".join(KINDS)))
    rows: dict[int, str] = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for kind, cell in zip(KINDS, cells[1:], strict=True):
            for first, last in re.findall(r"(\d+)(?:-(\d+))?", cell):
                rows |= dict.fromkeys(range(int(first), int(last or first) + 1), kind)
    return rows


def shown(rows: dict[int, str], numbers: range, kind: str) -> str:
    """The rows of a kind as numbers and ranges, as the README writes them."""
    groups: list[list[int]] = []
    for number in numbers:
        if rows[number] != kind:
            continue
        if groups and groups[-1][-1] == number - 1:
            groups[-1].append(number)
        else:
            groups.append([number])
    return ", ".join(str(group[0]) if len(group) == 1 else f"{group[0]}-{group[-1]}" for group in groups)


def test_every_row_has_a_test_of_its_documents() -> None:
    rows = covered()
    assert sorted(rows) == list(range(1, LAST + 1))
    assert sum(len(numbers) for numbers in SEEDS.values()) == LAST


def test_the_readmes_table_says_the_same() -> None:
    rows = covered()
    lines = "\n".join(
        f"| {name} | " + " | ".join(shown(rows, numbers, kind) for kind in KINDS) + " |"
        for name, numbers in SEEDS.items()
    )
    assert table() == rows, f"write this into the README:\n{lines}"
