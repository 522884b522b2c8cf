"""Log lines of the engine's processes: one JSON object per line on stderr, so that people and the panel read the same.

`record` is for state changes (`{"t": time, "level": ..., "event": ..., fields}`); ordinary `logging` calls of ours and
of libraries come out in the same form with their text under "message".
"""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import datetime

__all__ = ["Stopwatch", "configure_logging", "record"]

_log = logging.getLogger("pdpanel")


class _JsonLines(logging.Formatter):
    def __init__(self, always: dict[str, object]) -> None:
        super().__init__()
        self._always = always

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).astimezone()
        line: dict[str, object] = {
            "t": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
        }
        fields = getattr(record, "fields", None)
        if fields is None:
            line["logger"] = record.name
            line["message"] = record.getMessage()
        else:
            line["event"] = record.getMessage()
            line.update(fields)
        line |= {name: value for name, value in self._always.items() if name not in line}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logging(level: str, **always: object) -> None:
    """Sends all log records to stderr as JSON lines from `level` (debug, info, warning or error) on.

    Args:
        always: fields of each line that does not say otherwise.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines(always))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("aiohttp.access", "asyncio", "aiohttp.server"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))


def record(event: str, *, level: int = logging.INFO, **fields: object) -> None:
    """Logs one state change with its fields."""
    _log.log(level, event, extra={"fields": fields})


class Stopwatch:
    """Names the phases of a start and how long each took, in seconds."""

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Ends the phase that runs and logs it."""
        now = time.perf_counter()
        self.phases[phase] = round(now - self._since, 3)
        self._since = now
        record("started", phase=phase, seconds=self.phases[phase])
