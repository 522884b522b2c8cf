"""Why a process ended by itself: its exit, the kernel's word on memory, and the log of its last life.

Reads at most a few megabytes of the log and may take a second, so a runner's loop calls it in a thread. The doctor's
rules are loaded at the first end and not before.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

from ...nic_probe.finding import Finding
from .oom import explain_oom, oom_counts

__all__ = ["Autopsy", "examine"]

_MOST_FINDINGS = 3
_MOST_BYTES = 1 << 20
_MOST_EARLIER = 8 << 20
_KILLED = frozenset({-signal.SIGKILL, 128 + signal.SIGKILL})


@dataclass(frozen=True, slots=True)
class Autopsy:
    """What was found out about an end, the most telling first; `memory_ran_out` when the kernel ended it for that."""

    findings: tuple[Finding, ...]
    memory_ran_out: bool


def examine(name: str, code: int | None, log: Path, offset: int, oom_before: Mapping[str, int]) -> Autopsy:
    """Finds out why process `name` ended, without having been asked to.

    Args:
        name: the process.
        code: Popen's return code; None when nobody can know it.
        log: its log.
        offset: where its last life begins there, bytes.
        oom_before: the kernel's counts when it was started, see `oom.oom_counts`.
    """
    oom = explain_oom(name, oom_before, oom_counts()) if code is None or code in _KILLED else None
    findings = _findings(name, code, log, offset)
    if oom is not None:
        # It says more than that a SIGKILL came from somewhere.
        findings = (oom, *(finding for finding in findings if finding.id != "exit-killed"))
    return Autopsy(findings[:_MOST_FINDINGS], oom is not None)


def _findings(name: str, code: int | None, log: Path, offset: int) -> tuple[Finding, ...]:
    # Only here: a runner whose processes live needs none of these rules.
    from ..doctor.exit_code import explain_process_exit
    from ..doctor.log import explain_log

    lines = _lines(log, offset)
    if code is None:
        report = explain_log(lines, f"{name}'s log")
        return tuple(finding for finding in report.findings if finding.id != "log-empty")
    return explain_process_exit(code, lines, name)


def _lines(log: Path, offset: int) -> Iterator[bytes]:
    """Yields the lines of the last life, with empty ones before them so that their numbers are those of the file."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            offset = offset if offset <= size else 0  # It was cut since.
            file.seek(0)
            earlier = file.read(offset).count(b"\n") if offset <= _MOST_EARLIER else 0
            file.seek(offset)
            data = file.read(_MOST_BYTES)
            left_out = max(0, size - _MOST_BYTES - file.tell())
            file.seek(left_out, 1)
            data += file.read(_MOST_BYTES)
    except OSError:
        return iter(())
    return chain(repeat(b"", earlier), data.splitlines())
