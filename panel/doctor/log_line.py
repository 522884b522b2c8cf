"""One line of a log as text: whatever bytes stand there, cut to a length, without control sequences.

Pure. Also what a line tells before its message: its time, and whether it looks like an error. Called by `log` and
`arguments_of`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from .harmless import is_harmless

__all__ = ["LONGEST_LINE", "bounded_lines", "line_parts", "looks_like_error", "time_of"]

# The line with an engine's resolved arguments has 20 KB; beyond this nothing is read.
LONGEST_LINE = 256 * 1024

# CSI, OSC and other string sequences, and two-character escapes; bounded, so that no text makes them slow.
_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]{0,64}[ -/]{0,16}[@-~]"
    r"|\][^\x07\x1b]{0,512}(?:\x07|\x1b\\)"
    r"|[PX^_][^\x1b]{0,512}\x1b\\"
    r"|[ -/]{0,4}[0-Z\\^-~])"
)
# C0 but tab, DEL, C1, and the bidirectional controls that can make a line read as another one.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")

_TIMES = tuple(
    re.compile(pattern)
    for pattern in (
        r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?",
        # glog: I1121 05:05:38.069805, newer ones with the year.
        r"(?<=[IWEF])(?:\d{4})?\d{4} \d\d:\d\d:\d\d(?:\.\d{1,9})?",
        r"\b\d\d[-/]\d\d \d\d:\d\d:\d\d\b",
        r"(?<=\[)\s{0,6}\d{1,10}\.\d{6}(?=\])",
    )
)
_TIME_WITHIN = 160

# What engines and containers put before a line: (EngineCore pid=12), [rank0]:, [2026-01-01 00:00:00 TP0].
_PREFIX = r"(?:\([^()\n]{1,40}\) |\[[^\]\n]{1,60}\]:? ?|\S{1,40} \| ){0,3}"
_ERROR = re.compile(
    "|".join(
        (
            _PREFIX + r"[EF]\d{4,8} \d\d:\d\d:\d\d",
            _PREFIX + r"(?:\d[\d\-:., T]{5,30} )?\[?(?:ERROR|CRITICAL|FATAL)\b",
            r"[^\"]{0,80}\s(?:ERROR|CRITICAL|FATAL)\b(?! (?:rate|count))",
            r".{0,80}\"level\": \"(?:error|critical)\"",
            # The last line of a traceback; the first ones are indented.
            _PREFIX + r"(?:[A-Za-z_]\w{0,60}\.){0,8}[A-Z]\w{0,60}(?:Error|Exception|Interrupt|Fault)(?:: |\Z)",
            _PREFIX + r"(?:error|fatal): ",
        )
    )
)
_MAY_BE_ERROR = re.compile(r"[Ee]rror|ERROR|FATAL|[Ff]atal|CRITICAL|critical|Exception|Interrupt|Fault|\b[EF]\d{4}")


def bounded_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yields the lines of a binary stream, each cut to `LONGEST_LINE` bytes, in bounded memory."""
    while line := stream.readline(LONGEST_LINE):
        yield line
        while line and not line.endswith(b"\n"):
            line = stream.readline(LONGEST_LINE)


def line_parts(line: str | bytes) -> list[str]:
    """Returns the clean texts in one line of a log: one, or more when a progress bar returned the carriage."""
    text = line[:LONGEST_LINE]
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if "\x1b" in text:
        text = _ESCAPE.sub("", text)
    parts = text.split("\r") if "\r" in text else [text]
    return [clean for part in parts if (clean := _clean(part).rstrip())]


def _clean(text: str) -> str:
    return text if text.isprintable() else _CONTROL.sub("", text)


def time_of(text: str) -> str:
    """Returns the time at the beginning of a line as it is written there; empty when there is none."""
    start = text[:_TIME_WITHIN]
    for pattern in _TIMES:
        if match := pattern.search(start):
            return match.group().strip()
    return ""


def looks_like_error(text: str) -> bool:
    """Returns True for a line that reports an error, whoever writes it."""
    start = text[:512]
    if not _MAY_BE_ERROR.search(start):
        return False
    return _ERROR.match(start) is not None and not is_harmless(start)
