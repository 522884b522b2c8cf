"""Runs as a notebook shows them: a table as HTML, and as text where there is no HTML. Pure.

All text is escaped and loses control sequences: names of models and reasons of crashes come from outside.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from ..runner.journal import clean_line
from ..views import ProcessView, RunView

__all__ = ["RunTable"]

_HEADS = ("run", "run state", "process", "state", "port", "what it does")


class RunTable:
    """The processes of some runs, one a row."""

    def __init__(self, views: Sequence[RunView], others: int = 0) -> None:
        self.views = tuple(views)
        self._others = others

    def rows(self) -> list[tuple[str, ...]]:
        """Returns the cells as plain text."""
        rows: list[tuple[str, ...]] = []
        for view in self.views:
            first = (clean_line(view.id), str(view.state))
            if view.notice or not view.processes:
                rows.append((*first, "", "", "", clean_line(view.notice)))
                first = ("", "")
            for process in view.processes:
                rows.append((*first, clean_line(process.name), str(process.state), _port(process), _about(process)))
                first = ("", "")
        return rows

    def _rest(self) -> str:
        if not self.views and not self._others:
            return "There is no run yet: panel.deploy() starts one."
        if not self._others:
            return ""
        ended = "1 run has ended" if self._others == 1 else f"{self._others} runs have ended"
        return f"{ended}." if self.views else f"No run goes on; {ended}."

    def __repr__(self) -> str:
        rows = [_HEADS, *self.rows()] if self.views else []
        widths = [max(len(row[index]) for row in rows) for index in range(len(_HEADS))] if rows else []
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, *filter(None, [self._rest()])])

    def _repr_html_(self) -> str:
        rest = f"<p>{html.escape(self._rest())}</p>" if self._rest() else ""
        if not self.views:
            return rest
        head = "".join(f'<th scope="col" style="text-align:left">{html.escape(name)}</th>' for name in _HEADS)
        body = "".join(
            "<tr>" + "".join(f'<td style="text-align:left">{html.escape(cell)}</td>' for cell in row) + "</tr>"
            for row in self.rows()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"


def _port(process: ProcessView) -> str:
    return str(process.port) if process.port else ""


def _about(process: ProcessView) -> str:
    share = "" if process.progress is None else f" {process.progress:.0%}"
    return clean_line(f"{process.stage}{share}" if process.stage else process.reason)
