"""The line with which a runner begins the next start of a process in the same log, and how a reader knows a break.

Pure. `runner.child` writes it, `rows` shows it as a break.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

__all__ = ["is_restart_line", "restart_line"]

_EVENT = '"event": "process starts again"'
_CUT = re.compile(r"\[pdpanel\] \d+ bytes were cut out of this log here")


def restart_line(now: float) -> bytes:
    """Returns the line for a start at `now`, unix seconds; it begins on a line of its own."""
    moment = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    return b"\n" + json.dumps({"t": moment, "level": "info", "event": "process starts again"}).encode() + b"\n"


def is_restart_line(text: str) -> bool:
    """Returns True for a cleaned line of `restart_line`, and for the one where `runner.log_cap` cut a part out."""
    return (text.startswith('{"t": ') and _EVENT in text[:120]) or _CUT.match(text) is not None
