"""What the log says while a model is fetched and converted."""

from __future__ import annotations

from .log import record
from .model.progress import Progress

__all__ = ["ProgressLog"]


class ProgressLog:
    """Logs the fetching and converting of a model, a line per stage and per 5 % of it."""

    def __init__(self) -> None:
        self._last = ("", -1)

    def __call__(self, progress: Progress) -> None:
        """Logs it, unless the last line said the same."""
        share = progress.done * 20 // progress.total if progress.total else 0
        if (progress.stage, share) != self._last:
            self._last = (progress.stage, share)
            record("progress", stage=progress.stage, done=progress.done, total=progress.total)
