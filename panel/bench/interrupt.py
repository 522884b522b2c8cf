"""SIGTERM ends a benchmark as Ctrl-C does, so that what it started is stopped. For the commands of the command line."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

__all__ = ["ended_by_sigterm_too"]


@contextmanager
def ended_by_sigterm_too() -> Iterator[None]:
    """Lets SIGTERM end the block as Ctrl-C does; for the main thread."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
