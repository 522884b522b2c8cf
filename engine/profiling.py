"""What the HTTP routes see of a worker's profiles: one at a time, with limits, one file for each rank.

Nothing is written outside the folder that the worker was started in. Lives on the event loop's thread; beginnings and
ends are posted to the thread that computes, and files are written on a thread of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from .errors import CapacityError, ConflictError, RequestError
from .log import record
from .profiling_trace import ProfileRequest, RankProfile, Trace

__all__ = ["MOST_SECONDS", "MOST_STEPS", "Profiling", "Ranks"]

MOST_SECONDS = 30.0
MOST_STEPS = 10_000
_FOLDER = "profiles"
_ANSWER_S = 60.0


class Ranks(Protocol):
    """The other ranks of a worker; see `parallel.ranks.RankedExecutor`."""

    on_profiled: Callable[[int, str], None] | None

    def profile(self, folder: str) -> None:
        """Has all ranks begin to profile into `folder`, or end with it when it is empty."""
        ...


@dataclass(slots=True)
class _Now:
    """Where a profile stands."""

    state: str = "idle"
    folder: Path | None = None
    began_s: float = 0.0
    ended_s: float = 0.0
    steps: int = 0
    error: str = ""
    files: dict[int, str] = field(default_factory=dict)


class Profiling:
    """A worker's profiles, one at a time; all methods on the event loop's thread.

    Args:
        post: has a call made on the thread that computes; see `StepLoop.post`.
        own: the first rank's.
        root: the folder that the worker was started in: nothing is written outside.
        name: of the worker in names of folders: its role.
        ranks: the other ranks; None for a worker of one.
        count: of ranks, this one included.
    """

    def __init__(
        self,
        post: Callable[[Callable[[float], None]], None],
        own: RankProfile,
        root: Path,
        name: str,
        ranks: Ranks | None = None,
        count: int = 1,
    ) -> None:
        self._post = post
        self._own = own
        self._root = root
        self._name = name
        self._ranks = ranks
        self._count = count
        self._now = _Now()
        self._ending: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._arrived = asyncio.Event()
        self._trace: Trace | None = None

    def status(self) -> dict[str, object]:
        """Returns where the last profile stands, as JSON: state is idle, profiling, writing, done or failed."""
        now = self._now
        steps = self._own.spans.steps if now.state == "profiling" else now.steps
        return {
            "state": now.state,
            "folder": str(now.folder or ""),
            "began_s": now.began_s,
            "ended_s": now.ended_s,
            "limit_s": MOST_SECONDS,
            "steps": steps,
            "ranks": self._count,
            "error": now.error,
            "files": [{"rank": rank, "path": path, "bytes": _size(path)} for rank, path in sorted(now.files.items())],
        }

    async def start(self, request: ProfileRequest) -> dict[str, object]:
        """Begins a profile; returns once it runs.

        Raises:
            ConflictError: one is under way.
            RequestError: its folder is not below the worker's own, or cannot be made.
            CapacityError: the thread that computes does not answer.
        """
        if self._now.state in {"profiling", "writing"}:
            problem = f"a profile is under way ({self._now.state})"
            raise ConflictError("profile", self._now.state, problem, "stop it with /stop_profile, or wait for its end")
        folder = self._folder(request.folder)
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            problem = f"{folder} cannot be made ({error.strerror})"
            raise RequestError("output_dir", request.folder, problem, "leave it out, or free space") from None
        self._now = _Now("profiling", folder, time.time())
        self._trace = None
        self._arrived.clear()
        loop = asyncio.get_running_loop()

        def finish() -> None:
            # Here and now: by the time that the event loop has heard of it, more steps would be in the trace.
            with contextlib.suppress(Exception):  # the event loop tries again, and tells
                self._end_here()
            _tell(loop, self._finish)

        def begin() -> None:
            if self._ranks is not None:
                self._ranks.on_profiled = lambda rank, path: _tell(loop, self._profiled, rank, path)
                self._ranks.profile(str(folder))
            self._own.begin(request, request.steps, finish)

        try:
            await self._on_loop(begin)
        except Exception as error:
            self._now.state, self._now.error = "failed", str(error)
            raise
        self._now.began_s = time.time()  # the first one takes torch a second to begin
        self._timer = loop.call_later(MOST_SECONDS, self._finish)
        record("profile", state="profiling", folder=str(folder))
        return self.status()

    async def stop(self) -> dict[str, object]:
        """Ends the profile; returns once all ranks' traces are written.

        Raises:
            ConflictError: none is under way.
            CapacityError: a trace could not be written.
        """
        if self._now.state not in {"profiling", "writing"}:
            raise ConflictError("profile", self._now.state, "no profile is under way", "start one with /start_profile")
        self._finish()
        assert self._ending is not None
        await asyncio.shield(self._ending)
        if self._now.state == "failed":
            raise CapacityError(self._now.error)
        return self.status()

    def _finish(self) -> None:
        if self._now.state == "profiling":
            self._now.state = "writing"
            if self._timer is not None:
                self._timer.cancel()
            self._ending = asyncio.get_running_loop().create_task(self._end())

    async def _end(self) -> None:
        now = self._now
        assert now.folder is not None
        try:
            await self._on_loop(self._end_here)
            assert self._trace is not None
            now.ended_s, now.steps = time.time(), self._own.spans.steps
            path = await asyncio.to_thread(self._trace.write, self._own.target(now.folder))
            self._profiled(self._own.rank, str(path))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ANSWER_S):
                    await self._arrived.wait()
            missing = [str(rank) for rank in range(self._count) if not now.files.get(rank)]
            now.error = f"No trace came from rank {', '.join(missing)}; see the worker's log." if missing else ""
            now.state = "done"
        except Exception as error:  # a full disk, or torch's own
            now.state, now.error = "failed", f"The trace could not be written: {error}"
        record("profile", state=now.state, folder=str(now.folder), reason=now.error)

    def _end_here(self) -> None:
        """Ends on the thread that computes, unless it has ended."""
        if self._trace is None:
            self._trace = self._own.end()
            if self._ranks is not None:
                self._ranks.profile("")

    def _profiled(self, rank: int, path: str) -> None:
        self._now.files[rank] = path
        if len(self._now.files) >= self._count:
            self._now.files = {rank: path for rank, path in self._now.files.items() if path}
            self._arrived.set()

    async def _on_loop(self, work: Callable[[], None]) -> None:
        """Has `work` done on the thread that computes, between two steps."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def run(now: float) -> None:
            try:
                work()
            except Exception as error:
                _tell(loop, _fail, done, error)
            else:
                _tell(loop, _fail, done, None)

        self._post(run)
        try:
            async with asyncio.timeout(_ANSWER_S):
                await done
        except TimeoutError:
            raise CapacityError(f"The worker computes no step to profile within {_ANSWER_S:g} s.") from None

    def _folder(self, given: str) -> Path:
        """Returns a folder of its own for a profile, below the worker's."""
        root = self._root.resolve()
        try:
            parent = (root / (given or _FOLDER)).resolve()
        except (OSError, ValueError):
            parent = Path("/")
        if not parent.is_relative_to(root):
            problem = "is not below the folder that the worker was started in"
            raise RequestError("output_dir", given, problem, "give a relative path, or leave it out")
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        return next(folder for folder in _names(parent / f"{self._name}-{stamp}") if not os.path.lexists(folder))


def _names(first: Path) -> Iterator[Path]:
    yield first
    for number in range(2, 10_000):
        yield first.with_name(f"{first.name}-{number}")


def _tell(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: object) -> None:
    with contextlib.suppress(RuntimeError):  # the worker ends
        loop.call_soon_threadsafe(call, *arguments)


def _fail(done: asyncio.Future[None], error: Exception | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


def _size(path: str) -> int | None:
    """Returns the bytes of a file; None where this host has none, as with another node's rank."""
    try:
        return Path(path).stat().st_size
    except OSError:
        return None
