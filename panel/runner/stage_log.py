"""Follows the log of a starting process for the stage that it tells there; bounded, however much is logged."""

from __future__ import annotations

import re
from pathlib import Path

from .journal import strip_controls
from .stage import Stage, stage_of_line

__all__ = ["StageLog"]

_MOST_BYTES = 65536
# A progress bar writes over itself with carriage returns.
_ENDS = re.compile(r"[\r\n]+")


class StageLog:
    """The log at `path` from byte `offset` on."""

    def __init__(self, path: Path, offset: int) -> None:
        self._path = path
        self._offset = offset
        self._stage: Stage | None = None

    def look(self) -> Stage | None:
        """Returns the last stage that was told up to now, None before the first."""
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, 2)
                if size == self._offset:
                    return self._stage
                file.seek(max(self._offset, size - _MOST_BYTES) if size > self._offset else 0)
                data = file.read(_MOST_BYTES)
                self._offset = file.tell()
        except OSError:
            return self._stage
        # A line that is not whole yet is read as it is; the next look may see its end alone, which tells nothing.
        for line in reversed(_ENDS.split(data.decode("utf-8", errors="replace"))):
            if line and (stage := stage_of_line(strip_controls(line))) is not None:
                self._stage = stage
                break
        return self._stage
