"""Rows, findings and search results of a log as the browser gets them: plain JSON values.

Pure. A finding travels once in an answer, however many rows it explains. Called by `log_routes` and `log_live`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...nic_probe.finding import Finding
from ..logs.level import Level
from ..logs.log_file import LogId
from ..logs.marks import Mark
from ..logs.rows import Row, Window

__all__ = ["LEVELS", "rows_json", "window_json"]

# What a person may filter by: the least level of a row.
LEVELS = {"all": Level.NONE, "info": Level.INFO, "warning": Level.WARNING, "error": Level.ERROR}


def rows_json(rows: Iterable[Row], marks: Sequence[Mark]) -> dict[str, Any]:
    """Returns `rows`, each with the number of its finding in `findings` where it has one."""
    findings: list[dict[str, Any]] = []
    numbers: dict[tuple[str, str, str], int] = {}
    by_place: dict[int, int] = {}
    for mark in marks:
        told = mark.finding
        key = (told.id, told.reason, told.remedy)
        if key not in numbers:
            numbers[key] = len(findings)
            findings.append(_finding(told))
        by_place[mark.at] = numbers[key]
    return {"rows": [_row(row, by_place.get(row.at)) for row in rows], "findings": findings}


def window_json(window: Window, marks: Sequence[Mark], log: LogId) -> dict[str, Any]:
    """Returns a window with its rows and findings; `log` tells one file from the next one of the same name."""
    return {
        **rows_json(window.rows, marks),
        "log": str(log),
        "start": window.start,
        "end": window.end,
        "size": window.size,
        "binary": window.binary,
    }


def _row(row: Row, finding: int | None) -> dict[str, Any]:
    told: dict[str, Any] = {"at": row.at, "end": row.end, "text": row.text}
    if row.level is not Level.NONE:
        told["level"] = row.level.name.lower()
    if not row.whole:
        told["part"] = True
    if row.restart:
        told["restart"] = True
    if finding is not None:
        told["finding"] = finding
    return told


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id,
        "severity": str(finding.severity),
        "subject": finding.subject,
        "reason": finding.reason,
        "remedy": finding.remedy,
    }
