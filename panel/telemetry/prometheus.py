"""Reads a page of Prometheus text fast: only the families that somebody wants, of pages of thousands of lines.

A page is cut at its `# TYPE` lines, which a C loop finds; lines of other families are never looked at. Names are taken
as `family_name` makes them, so that `sglang:x`, `sglang_x` and `x_total` are one. What is no number, or no finite one,
is passed over. Labels are the same from page to page, so a reader remembers what they mean. Called by the scraper of a
run, which has a reader for each process.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Labels", "Page", "PageReader", "Sample", "family_name"]

# Possessive: a hostile line costs its own length once.
_LINE = re.compile(
    rb'^([a-zA-Z_:][\w:]*+)(?:\{((?:[^"}\n]++|"(?:[^"\\\n]++|\\[^\n])*+")*+)\})?[ \t]++([^\s#]++)', re.MULTILINE
)
_LABEL = re.compile(rb'([a-zA-Z_]\w*+)\s*=\s*"((?:[^"\\]|\\.)*+)"')
_CUT = b"\n# TYPE "
_PARTS = ("_bucket", "_sum", "_count")
_ESCAPED = re.compile(r"\\(.)")
_MOST_SAMPLES = 20_000
_MOST_FAMILIES = 20_000
_MOST_REMEMBERED = 5_000
_LONGEST_HEAD = 300
_LONGEST_LABELS = 2_000
# Ranks of one model instance, which all see the same requests.
_REPLICAS = frozenset({"tp_rank", "pp_rank", "moe_ep_rank"})

_Items = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Labels:
    """What stands between the braces of a line.

    Attributes:
        series: all but `le`, in order: what tells the series of a family apart.
        instance: those without the rank within a model instance.
        bound: the number in `le`; None without one.
    """

    values: Mapping[str, str]
    series: _Items = ()
    instance: _Items = ()
    bound: float | None = None


class Sample(NamedTuple):
    """One line of a page.

    Attributes:
        part: `bucket`, `sum` or `count` of a histogram; empty for a gauge or counter.
    """

    part: str
    labels: Labels
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


class PageReader:
    """Reads the pages of one process.

    Args:
        wanted: the families to read, by `family_name`.
    """

    def __init__(self, wanted: Collection[str]) -> None:
        self._wanted = wanted
        self._labels: dict[bytes, Labels] = {b"": Labels({})}
        # What each family's lines were, and what they meant: most stay as they are from look to look.
        self._heads: dict[bytes, str] = {}
        self._beginnings: dict[str, tuple[str, str]] = {}
        self._known: dict[str, tuple[bytes, tuple[Sample, ...]]] = {}

    def read(self, text: bytes) -> Page:
        """Returns the wanted families of `text`; never raises."""
        blocks = (b"\n" + text).split(_CUT, _MOST_FAMILIES)
        found: dict[str, tuple[Sample, ...]] = {}
        prefixes: set[str] = set()
        left = _MOST_SAMPLES
        # What stands before the first `# TYPE`, as everything does on a page without such lines.
        if len(blocks) == 1 or not blocks[0].lstrip().startswith(b"#"):
            left -= self._read_untyped(blocks[0], found, prefixes)
        for block in blocks[1:]:
            head, _, body = block.partition(b"\n")
            name = self._family(head) if len(head) <= _LONGEST_HEAD else ""
            if not name:
                continue
            prefixes.update(self._beginnings[name])
            if name in self._wanted and left > 0 and name not in found:
                known = self._known.get(name)
                if known is None or known[0] != body:
                    known = self._known[name] = (body, self._read_typed(name, body, left))
                found[name] = known[1]
                left -= len(known[1])
        return Page(found, frozenset(prefixes))

    def _read_typed(self, family: str, body: bytes, most: int) -> tuple[Sample, ...]:
        samples: list[Sample] = []
        parts: dict[bytes, str | None] = {}
        for raw, labels, number in _LINE.findall(body)[:most]:
            if raw not in parts:
                # Some exporters close a family with `x_created` lines; they are families of their own.
                parts[raw] = _part_of(raw, family)
            part = parts[raw]
            value = _number(number)
            if part is not None and value is not None:
                samples.append(Sample(part, self._labels_of(labels), value))
        return tuple(samples)

    def _read_untyped(self, text: bytes, found: dict[str, tuple[Sample, ...]], prefixes: set[str]) -> int:
        """Reads lines without types and returns how many; a page of HTML has none."""
        count = 0
        lists: dict[str, list[Sample]] = {}
        for match in _LINE.finditer(text):
            count += 1
            if count > _MOST_SAMPLES:
                break
            value = _number(match[3])
            if value is None:
                continue
            raw = match[1].decode()
            name, part = family_name(raw), ""
            if name not in self._wanted:
                for end in _PARTS:
                    if raw.endswith(end):
                        name, part = family_name(raw.removesuffix(end)), end[1:]
            prefixes.update(_beginnings(name))
            if name in self._wanted:
                lists.setdefault(name, []).append(Sample(part, self._labels_of(match[2] or b""), value))
        found.update((name, tuple(samples)) for name, samples in lists.items())
        return count

    def _family(self, head: bytes) -> str:
        """Returns the name in a `# TYPE` line, empty when there is none."""
        name = self._heads.get(head)
        if name is None:
            if len(self._heads) >= _MOST_REMEMBERED:
                self._heads.clear()
                self._beginnings.clear()
                self._known.clear()
            words = head.split()
            name = self._heads[head] = family_name(words[0].decode("ascii", "replace")) if words else ""
            self._beginnings[name] = _beginnings(name)
        return name

    def _labels_of(self, text: bytes) -> Labels:
        if len(text) > _LONGEST_LABELS:
            return _labels(text)
        labels = self._labels.get(text)
        if labels is None:
            if len(self._labels) >= _MOST_REMEMBERED:
                self._labels.clear()
            labels = self._labels[text] = _labels(text)
        return labels


def _beginnings(name: str) -> tuple[str, str]:
    first, _, rest = name.partition("_")
    return first, f"{first}_{rest.partition('_')[0]}"


def _part_of(raw: bytes, family: str) -> str | None:
    name = raw.decode().replace(":", "_")
    rest = name.removeprefix(family) if name.startswith(family) else None
    if rest in ("", "_total"):
        return ""
    return rest[1:] if rest in _PARTS else None


def _labels(text: bytes) -> Labels:
    values = {key.decode(): _plain(value.decode("utf-8", "replace")) for key, value in _LABEL.findall(text)}
    series = tuple(sorted(item for item in values.items() if item[0] != "le"))
    bound = _number(values["le"].encode(), infinite=True) if "le" in values else None
    return Labels(values, series, tuple(item for item in series if item[0] not in _REPLICAS), bound)


def _plain(value: str) -> str:
    return _ESCAPED.sub(lambda match: "\n" if match[1] == "n" else match[1], value) if "\\" in value else value


def _number(text: bytes, *, infinite: bool = False) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) or (infinite and value > 0) else None
