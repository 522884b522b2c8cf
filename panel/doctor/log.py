"""Explains a log: which known failures stand in it, where, how often, and which came first.

Pure and streaming: one pass over lines of any number, bounded memory. Knows the signatures and nothing of files;
`pdpanel doctor --log` and the panel feed it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...nic_probe.checks.check import Rule
from ...nic_probe.finding import Evidence, Finding, Severity
from .log_line import line_parts, looks_like_error, time_of
from .log_load import EngineLoad
from .signatures.catalog import SIGNATURES
from .signatures.gate import gate
from .signatures.signature import Signature

__all__ = ["RULES", "LogReport", "explain_log"]

_MATCHED = 8192
_SHOWN = 300
_MOST_ROOMS = 10_000
_SHOWN_ROOMS = 5
_TIME_WITHIN_LINES = 50
_TIME_WITHIN_CHARACTERS = 200
_ORDER = (Severity.ERROR, Severity.WARNING, Severity.UNKNOWN, Severity.INFO)
# A failure of one request in SGLang's words, whichever signature explains the line.
_ROOM = re.compile(r"bootstrap_room=(\d{1,20})")

_UNEXPLAINED = Rule(
    "log-unexplained-error",
    "The first error of a log that no known failure explains",
    "The line looks like an error, but none of the known failures has its text. It may well be the cause of what "
    "follows.",
)
_NOTHING = Rule(
    "log-empty",
    "A log without a line",
    "A process that writes nothing was not started, writes elsewhere, or ended at once.",
)
RULES = (_UNEXPLAINED, _NOTHING)


@dataclass(frozen=True, slots=True)
class LogReport:
    """What a log says.

    Attributes:
        source: the log's name.
        lines: how many it has.
        findings: one for each known failure, the first error in front, then the gravest first.
        first_error: id of the finding whose line is the first error of the log; empty without errors.
        last_time: the time of the last line that has one, as it is written there.
    """

    source: str
    lines: int
    findings: tuple[Finding, ...]
    first_error: str = ""
    last_time: str = ""


class _Sighting:
    """One signature in one log."""

    def __init__(self, signature: Signature, line: int, text: str, match: re.Match[str], after: int) -> None:
        self.signature = signature
        self.line = line
        self.last_line = line
        self.after = after
        self.count = 1
        self.last_time = ""
        self.rooms: set[str] = set()
        self._text = text
        self._match = match

    @property
    def is_error(self) -> bool:
        return self.signature.severity is Severity.ERROR and not self.follows

    @property
    def follows(self) -> bool:
        """True for noise that an earlier error has made."""
        return self.signature.noise_after and self.after > 0

    def finding(self, source: str, first: bool) -> Finding:
        evidence = [Evidence(f"{source}:{self.line}", _shown(self._text, self._match.start()))]
        if first:
            evidence.append(Evidence(source, "the first error of this log"))
        if self.count > 1:
            last = f"{self.count} such lines, the last is line {self.last_line}"
            evidence.append(Evidence(source, f"{last}, at {self.last_time}" if self.last_time else last))
        if self.rooms:
            names = sorted(self.rooms, key=lambda room: (len(room), room))[:_SHOWN_ROOMS]
            many = "at least " if len(self.rooms) >= _MOST_ROOMS else ""
            evidence.append(Evidence(source, f"{many}{len(self.rooms)} rooms, such as {', '.join(names)}"))
        reason = self.signature.fill(self.signature.reason, self._match)
        severity = self.signature.severity
        if self.follows:
            reason = f"{reason} It follows from the error in line {self.after}."
            severity = Severity.INFO
        remedy = self.signature.fill(self.signature.remedy, self._match)
        return self.signature.rule.finding(severity, str(self.signature.said_by), evidence, reason, remedy)


class _Reader:
    def __init__(self, source: str, signatures: Sequence[Signature]) -> None:
        self.source = source
        self.lines = 0
        self._latest: deque[str] = deque(maxlen=_TIME_WITHIN_LINES)
        self._gate = gate(frozenset(needle for signature in signatures for needle in signature.needles))
        self._signatures = signatures
        self._beside = tuple(signature for signature in signatures if signature.beside_others)
        self._found: dict[str, _Sighting] = {}
        self._load = EngineLoad()
        self._unexplained: tuple[int, str] | None = None
        self._first_error = 0
        self._known_time = (-_TIME_WITHIN_LINES, "")

    def read(self, line: str | bytes) -> None:
        self.lines += 1
        for text in line_parts(line):
            self._latest.append(text[:_TIME_WITHIN_CHARACTERS])
            self._load.read(text)
            self._explain(text[:_MATCHED])

    @property
    def last_time(self) -> str:
        """The time of the last of the latest lines that has one."""
        return next((time for text in reversed(self._latest) if (time := time_of(text))), "")

    def _time_about(self, text: str) -> str:
        """Returns the time of this line, or of one of the lines before it."""
        time = time_of(text)
        if time:
            self._known_time = (self.lines, time)
        elif self.lines - self._known_time[0] >= _TIME_WITHIN_LINES:
            self._known_time = (self.lines, self.last_time)
        return self._known_time[1]

    def _explain(self, text: str) -> None:
        lowered = text.lower()
        explained: Signature | None = None
        if self._gate.search(lowered) is not None:
            for signature in self._signatures:
                if (match := signature.search(text, lowered)) is not None:
                    explained = signature
                    self._note(signature, text, match)
                    break
            for signature in self._beside:
                if signature is not explained and (match := signature.search(text, lowered)) is not None:
                    self._note(signature, text, match)
        if explained is None and self._unexplained is None and looks_like_error(text):
            self._unexplained = (self.lines, text)
            self._first_error = self._first_error or self.lines

    def _note(self, signature: Signature, text: str, match: re.Match[str]) -> None:
        sighting = self._found.get(signature.rule.id)
        if sighting is None:
            sighting = _Sighting(signature, self.lines, text, match, self._first_error)
            self._found[signature.rule.id] = sighting
            if sighting.is_error:
                self._first_error = self._first_error or self.lines
        else:
            sighting.count += 1
            sighting.last_line = self.lines
        sighting.last_time = self._time_about(text)
        if signature.beside_others and len(sighting.rooms) < _MOST_ROOMS:
            sighting.rooms.update(_ROOM.findall(text)[:4])

    def report(self) -> LogReport:
        first_error = ""
        placed: list[tuple[int, int, int, Finding]] = []
        sightings = sorted(self._found.values(), key=lambda sighting: sighting.line)
        for sighting in sightings:
            first = not first_error and sighting.line == self._first_error and sighting.is_error
            if first:
                first_error = sighting.signature.rule.id
            finding = sighting.finding(self.source, first)
            placed.append((not first, _ORDER.index(finding.severity), sighting.line, finding))
        if self._unexplained is not None:
            line, text = self._unexplained
            first = not first_error and line == self._first_error
            if first:
                first_error = _UNEXPLAINED.id
            placed.append((not first, _ORDER.index(Severity.INFO), line, self._unexplained_finding(line, text, first)))
        if not self.lines:
            evidence = (Evidence(self.source, "has no line"),)
            nothing = _NOTHING.finding(Severity.INFO, self.source, evidence, "The process wrote nothing here.")
            placed.append((True, _ORDER.index(Severity.INFO), 0, nothing))
        placed.sort(key=lambda row: row[:3])
        findings = (*(row[3] for row in placed), *self._load.findings(self.source))
        return LogReport(self.source, self.lines, findings, first_error, self.last_time)

    def _unexplained_finding(self, line: int, text: str, first: bool) -> Finding:
        evidence = [Evidence(f"{self.source}:{line}", _shown(text, 0))]
        if first:
            evidence.append(Evidence(self.source, "the first error of this log"))
        reason = "This error is none of the known ones; what follows may come from it."
        remedy = "Search the engine's issues for its text, and read the lines around it."
        return _UNEXPLAINED.finding(Severity.INFO, self.source, evidence, reason, remedy)


def explain_log(
    lines: Iterable[str] | Iterable[bytes], source: str, signatures: Sequence[Signature] = SIGNATURES
) -> LogReport:
    """Returns what the log says.

    Args:
        lines: the log's lines, in order, of any number; each is cut to 256 KB (`log_line.bounded_lines` reads a
            file so that no longer one is held).
        source: the log's name, as evidence shows it.
        signatures: the failures to look for; the first that matches a line explains it.
    """
    reader = _Reader(source, signatures)
    for line in lines:
        reader.read(line)
    return reader.report()


def _shown(text: str, start: int) -> str:
    """Returns what is shown of a line: its beginning, or from a little before a match that stands far behind."""
    if start > _SHOWN - 100:
        text = "..." + text[start - 60 :]
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
