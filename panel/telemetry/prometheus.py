"""Reads a page of Prometheus text fast: only the families that somebody wants, of pages of thousands of lines.

A page is cut at its `# TYPE` lines, which a C loop finds; lines of other families are never looked at. Names are taken
as `family_name` makes them, so that `sglang:x`, `sglang_x` and `x_total` are one. What is no number, or no finite one,
is passed over. Pure; called by the scraper of a run and by tests.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

__all__ = ["Page", "Sample", "family_name", "read_page"]

# Possessive: a hostile line costs its own length once.
_LINE = re.compile(
    rb'^([a-zA-Z_:][\w:]*+)(?:\{((?:[^"}\n]|"(?:[^"\\\n]|\\[^\n])*+")*+)\})?[ \t]++([^\s#]++)', re.MULTILINE
)
_LABEL = re.compile(rb'([a-zA-Z_]\w*+)\s*=\s*"((?:[^"\\]|\\.)*+)"')
_CUT = b"\n# TYPE "
_PARTS = ("_bucket", "_sum", "_count")
_ESCAPED = re.compile(r"\\(.)")
_MOST_SAMPLES = 20_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of a page.

    Attributes:
        part: `bucket`, `sum` or `count` of a histogram; empty for a gauge or counter.
    """

    part: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Page:
    """The wanted families of a page.

    Attributes:
        families: the samples by `family_name`.
        prefixes: what the names of all families on the page begin with: their first word, and their first two.
    """

    families: Mapping[str, tuple[Sample, ...]]
    prefixes: frozenset[str]

    @property
    def is_metrics(self) -> bool:
        """False for a page that holds no metric at all, such as HTML."""
        return bool(self.prefixes)


def family_name(name: str) -> str:
    """Returns a metric's name in one spelling: `_` for `:`, without `_total`."""
    return name.replace(":", "_").removesuffix("_total")


def read_page(text: bytes, wanted: Collection[str]) -> Page:
    """Returns the families of `text` that are `wanted`, by `family_name`; never raises."""
    blocks = (b"\n" + text).split(_CUT)
    found: dict[str, list[Sample]] = {}
    prefixes: set[str] = set()
    left = _MOST_SAMPLES
    # What stands before the first `# TYPE`, as everything does on a page without such lines.
    if len(blocks) == 1 or not blocks[0].lstrip().startswith(b"#"):
        left -= _read_untyped(blocks[0], wanted, found, prefixes)
    for block in blocks[1:]:
        head, _, body = block.partition(b"\n")
        words = head.split()
        if not words:
            continue
        name = family_name(words[0].decode("ascii", "replace"))
        prefixes.update(_beginnings(name))
        if name in wanted and left > 0 and name not in found:
            samples = found.setdefault(name, [])
            for match in _LINE.finditer(body):
                if left <= 0:
                    break
                left -= 1
                # Some exporters close a family with `x_created` lines; they are families of their own.
                part = _part_of(match[1], name)
                if part is not None and (sample := _sample(part, match)) is not None:
                    samples.append(sample)
    return Page({name: tuple(samples) for name, samples in found.items()}, frozenset(prefixes))


def _read_untyped(text: bytes, wanted: Collection[str], found: dict[str, list[Sample]], prefixes: set[str]) -> int:
    """Reads lines without types and returns how many; a page of HTML has none."""
    count = 0
    for match in _LINE.finditer(text):
        count += 1
        if count > _MOST_SAMPLES:
            break
        if not _is_number(match[3]):
            continue
        raw = match[1].decode()
        name, part = family_name(raw), ""
        if name not in wanted:
            for end in _PARTS:
                if raw.endswith(end):
                    name, part = family_name(raw.removesuffix(end)), end[1:]
        prefixes.update(_beginnings(name))
        if name in wanted and (sample := _sample(part, match)) is not None:
            found.setdefault(name, []).append(sample)
    return count


def _beginnings(name: str) -> tuple[str, str]:
    first, _, rest = name.partition("_")
    return first, f"{first}_{rest.partition('_')[0]}"


def _part_of(raw: bytes, family: str) -> str | None:
    name = raw.decode().replace(":", "_")
    rest = name.removeprefix(family) if name.startswith(family) else None
    if rest in ("", "_total"):
        return ""
    return rest[1:] if rest in _PARTS else None


def _sample(part: str, match: re.Match[bytes]) -> Sample | None:
    try:
        value = float(match[3])
    except ValueError:
        return None
    if not math.isfinite(value):
        return None
    labels = _labels(match[2]) if match[2] else {}
    return Sample(part, labels, value)


def _labels(text: bytes) -> dict[str, str]:
    return {key.decode(): _plain(value.decode("utf-8", "replace")) for key, value in _LABEL.findall(text)}


def _plain(value: str) -> str:
    return _ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], value) if "\\" in value else value


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
