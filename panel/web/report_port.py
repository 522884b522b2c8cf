"""What the web part needs to hand out reports about runs; `report.gather.RunReports` is the real one."""

from __future__ import annotations

from typing import Protocol

from ..report.report import Report

__all__ = ["Reports"]


class Reports(Protocol):
    """Reports about runs."""

    def report(self, run_id: str) -> Report:
        """Returns the report about a run, without secrets; blocks for a second or two."""
        ...
