"""The runner's own log, one JSON object a line, and what a process's log says about its end.

The runner's standard output is `runner.log`; `Journal` alone writes to it. Text that comes out of logs is
stripped of control sequences before it goes anywhere.
"""

from __future__ import annotations

import re
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from ..doctor.log_line import line_parts

__all__ = ["Journal", "clean_line", "last_meaningful_line", "one_line", "strip_controls", "tail_lines"]

_TAIL_BYTES = 32768
_SHOWN_CHARACTERS = 300
_ERROR = re.compile(
    r"^(?:[\w.]+\.)?\w*(?:Error|Exception|Interrupt|Exit)\b|\b(?:error|fatal|critical)\b\W", re.IGNORECASE
)


class Journal:
    """Writes events of one run to standard output."""

    def say(self, event: str, **fields: object) -> None:
        """Writes one line: the time, the event and its fields."""
        line = msgspec.json.encode({"t": round(time.time(), 3), "event": event, **fields})
        # A full disk must not end the supervision of what runs.
        with suppress(OSError):
            sys.stdout.write(line.decode() + "\n")
            sys.stdout.flush()


def clean_line(text: str) -> str:
    """Returns `text` as one plain line: no control sequences or characters, at most 300 long."""
    plain = one_line(text)
    return plain if len(plain) <= _SHOWN_CHARACTERS else plain[: _SHOWN_CHARACTERS - 3] + "..."


def one_line(text: str) -> str:
    """Returns `text` as one plain line of any length: no control sequences or characters."""
    return strip_controls(text).replace("\n", " ").replace("\t", " ").strip()


def strip_controls(text: str) -> str:
    """Returns `text` without control sequences and without control characters but tab and newline."""
    return "\n".join("".join(line_parts(line)) for line in text.split("\n"))


def tail_lines(path: Path, count: int, offset: int = 0) -> list[str]:
    """Returns the last `count` non-empty lines of the log at `path`, cleaned; none if it cannot be read.

    Lines before byte `offset` do not count, unless the log has been cut to less than that.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(offset if offset <= size else 0, size - _TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    lines = [cleaned for line in text.splitlines() if (cleaned := clean_line(line))]
    return lines[-count:]


def last_meaningful_line(path: Path, offset: int = 0) -> str:
    """Returns the line that most likely says why the process ended: the last error, else the last line.

    Lines before byte `offset` are of an earlier life and do not count.

    Lines that are JSON objects, as our own processes write them, speak for themselves: one below "error" explains
    nothing, and of an error its text is shown.
    """
    others: list[str] = []
    for line in reversed(tail_lines(path, 40, offset)):
        entry = _json_entry(line)
        if entry is None:
            if _ERROR.search(line):
                return line
            others.append(line)
        elif entry.get("level") in {"error", "critical"}:
            return str(entry.get("reason") or entry.get("message") or line)
    return others[0] if others else ""


def _json_entry(line: str) -> dict[str, object] | None:
    if not line.startswith("{"):
        return None
    try:
        return msgspec.json.decode(line, type=dict[str, object])
    except msgspec.DecodeError:
        return None
