"""Which lines of a log the doctor explains, as a known failure or as harmless, worked out once for each region.

Regions are 256 KB; a line belongs to the one in which it begins. What is known of a region that still grows is
continued from where it ends. Bounded: the regions that nobody has asked for longest are forgotten. Safe for several
threads, whoever looks. Called by the log routes and the log socket.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...nic_probe.finding import Evidence, Finding, Severity
from ..doctor.harmless import HARMLESS
from ..doctor.log_line import line_parts
from ..doctor.signatures.catalog import SIGNATURES
from ..doctor.signatures.gate import gate
from .log_file import LogFile, LogId
from .rows import next_begin, pieces_between

__all__ = ["Mark", "Marks", "explain_text"]

_REGION = 256 * 1024
_MOST_REGIONS = 128
_MOST_MARKS = 2000
_MATCHED = 8192
_SHOWN = 300


@dataclass(frozen=True, slots=True)
class Mark:
    """A line that is explained.

    Attributes:
        at: where the line begins.
        finding: what it means; its evidence is the line.
    """

    at: int
    finding: Finding


@dataclass(slots=True)
class _Region:
    upto: int
    marks: list[Mark] = field(default_factory=list)


def explain_text(text: str, source: str) -> Finding | None:
    """Returns what one cleaned line of a log means, None when the doctor does not know it.

    Args:
        text: the line.
        source: where it stands, as evidence shows it.
    """
    text = text[:_MATCHED]
    lowered = text.lower()
    if _gate().search(lowered) is None:
        return None
    for signature in (*SIGNATURES, *HARMLESS):
        match = signature.search(text, lowered)
        if match is not None:
            severity = Severity.INFO if signature.noise_after else signature.severity
            shown = text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
            return signature.rule.finding(
                severity,
                str(signature.said_by),
                [Evidence(source, shown)],
                signature.fill(signature.reason, match),
                signature.fill(signature.remedy, match),
            )
    return None


def _gate() -> re.Pattern[str]:
    return gate(frozenset(needle for signature in (*SIGNATURES, *HARMLESS) for needle in signature.needles))


class Marks:
    """The explained lines of all logs that are looked at.

    Attributes:
        lines_explained: how many lines have been looked at in all.
    """

    def __init__(self) -> None:
        self.lines_explained = 0
        self._regions: OrderedDict[tuple[LogId, int], _Region] = OrderedDict()
        self._sizes: dict[LogId, int] = {}
        self._lock = threading.Lock()

    def between(self, file: LogFile, start: int, end: int) -> list[Mark]:
        """Returns the explained lines of `file` that begin in `start` to `end`, bytes, in order."""
        with self._lock:
            size = file.size
            if size < self._sizes.get(file.id, 0):
                self._forget(file.id)
            found: list[Mark] = []
            for number in range(start // _REGION, -(-min(end, size) // _REGION)):
                region = self._region(file, number, min(size, end))
                found += [mark for mark in region.marks if start <= mark.at < end]
            self._sizes[file.id] = size
            while len(self._regions) > _MOST_REGIONS:
                self._regions.popitem(last=False)
            known = {log for log, _ in self._regions}
            self._sizes = {log: size for log, size in self._sizes.items() if log in known}
            return found

    def _forget(self, log: LogId) -> None:
        for key in [key for key in self._regions if key[0] == log]:
            del self._regions[key]
        self._sizes.pop(log, None)

    def _region(self, file: LogFile, number: int, upto: int) -> _Region:
        key = (file.id, number)
        region = self._regions.get(key)
        if region is None:
            low = number * _REGION
            region = self._regions[key] = _Region(next_begin(file, low))
        self._regions.move_to_end(key)
        end = min((number + 1) * _REGION, upto)
        if region.upto < end:
            for piece_end, mark in self._explained(file, region.upto, end):
                region.upto = piece_end
                if mark is not None and len(region.marks) < _MOST_MARKS:
                    region.marks.append(mark)
        return region

    def _explained(self, file: LogFile, start: int, end: int) -> Iterator[tuple[int, Mark | None]]:
        for piece in pieces_between(file, start, end):
            if not piece.whole and piece.end >= file.size:
                return  # it is still being written
            self.lines_explained += 1
            source = f"byte {piece.at}"
            findings = (explain_text(text, source) for text in line_parts(piece.data))
            finding = next((finding for finding in findings if finding is not None), None)
            yield piece.end, None if finding is None else Mark(piece.at, finding)
