"""What the logs of one run say together: each explained, workers compared with each other.

Reads the beginning and the end of a long log, never all of it, and says so. Called by the web part.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...engine.errors import PdpanelError
from ...nic_probe.finding import Finding
from ..doctor.agreement import check_agreement, sorted_findings
from ..doctor.log import explain_log
from ..doctor.log_arguments import ArgumentsReader
from ..doctor.log_line import bounded_lines
from ..doctor.worker import WorkerArguments
from ..logs.log_file import LogFile, open_log
from ..logs.rows import begin_of

__all__ = ["Explained", "explain_logs"]

_PART_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Explained:
    """What was found.

    Attributes:
        findings: the gravest first.
        notes: which logs were not read, or not as a whole, in whole sentences.
    """

    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def explain_logs(logs: Mapping[str, Path], part_bytes: int = _PART_BYTES) -> Explained:
    """Returns what the logs say.

    Args:
        logs: by the name of their process.
        part_bytes: how much is read of each end of a log that is longer than both.
    """
    findings: list[Finding] = []
    workers: list[WorkerArguments] = []
    notes: list[str] = []
    for name, path in logs.items():
        try:
            with open_log(path) as file:
                settled = ArgumentsReader(name)
                lines = _lines(file, part_bytes)
                findings += explain_log(settled.watched(lines), name).findings
                workers += settled.workers()
                if file.size > 2 * part_bytes:
                    notes.append(f"Of {name}'s log the first and last {part_bytes >> 10} KiB were read.")
        except PdpanelError as error:
            notes.append(f"{name}: {error}")
    findings += check_agreement(workers)
    return Explained(sorted_findings(findings), tuple(notes))


def _lines(file: LogFile, part_bytes: int) -> Iterator[bytes]:
    size = file.size
    if size <= 2 * part_bytes:
        yield from bounded_lines(io.BytesIO(file.read(0, size)))
        return
    yield from bounded_lines(io.BytesIO(file.read(0, begin_of(file, part_bytes))))
    yield from bounded_lines(io.BytesIO(file.read(begin_of(file, size - part_bytes), size)))
