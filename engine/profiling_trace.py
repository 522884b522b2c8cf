"""One rank's profile: torch's profiler and the rank's own spans, written as a trace that Perfetto opens.

Begun and ended on the thread that computes, written on any. torch is imported when the first one begins. `profiling`
has the first rank's, followers carry out `Profile` orders with theirs.
"""

from __future__ import annotations

import gzip
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from .errors import CapacityError
from .log import record
from .profiling_spans import Span, Spans, events_of

__all__ = ["ProfileRequest", "RankProfile", "Trace"]

_MOST_BYTES = 1 << 30
_ENDING = ".trace.json.gz"
_EVENTS = b'"traceEvents": ['
_BASE = b'"baseTimeNanoseconds": '
_HEAD_BYTES = 64 << 10
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class ProfileRequest:
    """What is to be profiled.

    Attributes:
        folder: as the client names it, below the worker's own folder; empty for the default.
        steps: after which it ends by itself; 0 for the time limit alone.
        gpu: whether kernels of a GPU are recorded, where there is one.
        shapes: record the shapes of inputs.
        stacks: record Python stacks.
    """

    folder: str = ""
    steps: int = 0
    gpu: bool = True
    shapes: bool = False
    stacks: bool = False


class Trace:
    """A profile that has ended, not written yet."""

    def __init__(self, profiler: Any, spans: list[Span]) -> None:
        self._profiler = profiler
        self._spans = spans

    def write(self, target: Path) -> Path:
        """Writes the trace; may take seconds, on any thread.

        Raises:
            OSError: the disk is full or cannot be written.
            CapacityError: it is larger than a trace may be.
        """
        raw, temporary = target.with_suffix(".raw"), target.with_suffix(".tmp")
        try:
            self._profiler.export_chrome_trace(str(raw))
            if (size := raw.stat().st_size) > _MOST_BYTES:
                problem = f"{size / 1e6:.0f} MB, and {_MOST_BYTES / 1e6:.0f} MB is the most"
                raise CapacityError(f"The trace has {problem}; profile fewer steps.")
            with raw.open("rb") as source, gzip.open(temporary, "wb", compresslevel=3) as out:
                self._join(source, out)
            temporary.rename(target)
        finally:
            raw.unlink(missing_ok=True)
            temporary.unlink(missing_ok=True)
        return target

    def _join(self, source: IO[bytes], out: gzip.GzipFile) -> None:
        """Copies torch's file with the worker's spans as its first events."""
        head = source.read(_HEAD_BYTES)
        place = head.find(_EVENTS) + len(_EVENTS)
        if place < len(_EVENTS):  # another version's layout: torch's own events are better than none
            out.write(head)
        else:
            base = head.find(_BASE)
            digits = head[base + len(_BASE) :].split(b",", 1)[0].strip() if base >= 0 else b""
            out.write(head[:place])
            for event in events_of(self._spans, int(digits) if digits.isdigit() else 0):
                out.write(event.encode() + b",\n")
            out.write(head[place:])
        shutil.copyfileobj(source, out, _BLOCK)


class RankProfile:
    """One rank's profile.

    Args:
        rank: of its worker.
        spans: what notes what torch does not see.
    """

    def __init__(self, rank: int, spans: Spans) -> None:
        self.rank = rank
        self.spans = spans
        self._profiler: Any = None
        self._folder = Path()

    def begin(self, request: ProfileRequest, most_steps: int = 0, on_steps: Callable[[], None] = lambda: None) -> None:
        """Begins, on the thread that computes."""
        from torch import profiler

        activities = [profiler.ProfilerActivity.CPU]
        if request.gpu and profiler.ProfilerActivity.CUDA in profiler.supported_activities():
            activities.append(profiler.ProfilerActivity.CUDA)
        made = profiler.profile(activities=activities, record_shapes=request.shapes, with_stack=request.stacks)
        made.start()
        self._profiler = made
        self.spans.begin(most_steps, on_steps)

    def end(self) -> Trace:
        """Ends, on the same thread."""
        assert self._profiler is not None, "a profile ends once"
        spans = self.spans.take()
        made, self._profiler = self._profiler, None
        made.stop()
        return Trace(made, spans)

    def target(self, folder: Path) -> Path:
        """Returns the file of this rank's trace; the names are SGLang's."""
        return folder / f"TP-{self.rank}{_ENDING}"

    def profile(self, folder: str) -> str:
        """Does what a `Profile` order asks for: begins, or ends when `folder` is empty.

        Returns:
            The path of what was written, empty at a beginning and where nothing could be written.
        """
        if folder:
            self._folder = Path(folder)
            self.begin(ProfileRequest())
            return ""
        if self._profiler is None:
            return ""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            return str(self.end().write(self.target(self._folder)))
        except (OSError, CapacityError) as error:
            record("profile_failed", rank=self.rank, level=logging.WARNING, reason=str(error))
            return ""
