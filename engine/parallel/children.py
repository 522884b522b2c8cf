"""The rank processes that one process of a worker starts on its node: their start, their end, and how they ended.

A child gets what it is to do on its standard input, which stays open: its end is the parent's end, whatever the parent
died of. Its log is the parent's. A child that says something on its standard output says it to the parent, a line at a
time: `failed REASON` before it ends, and what `follower.follow` says. Knows nothing of models and orders.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from ..config import ServerConfig
from .agreement import MeetingPlace

__all__ = ["Children", "Ending", "RankStart"]

_MODULE = f"{__name__.rpartition('.parallel.')[0]}.launch_rank"
_KILLED_S = 5.0
_LAST_WORDS_S = 1.0


class Ending(NamedTuple):
    """How a process ended: its code, as `Popen.returncode` has it, and a predicate that ends with a full stop."""

    code: int
    words: str


OnEnded = Callable[[int, Ending], None]
OnWord = Callable[[int, str], None]


class RankStart(msgspec.Struct, frozen=True):
    """What a rank process is to do.

    Attributes:
        config: of its node.
        place: where it meets the others.
        parent: process id of who starts it.
    """

    rank: int
    config: ServerConfig
    place: MeetingPlace
    parent: int


class Children:
    """The rank processes of a node.

    Attributes:
        on_word: called with rank and line when one says something.
    """

    def __init__(self) -> None:
        self.on_word: OnWord = lambda rank, word: None
        self._on_ended: OnEnded = lambda rank, end: None
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._reasons: dict[int, str] = {}
        self._ended: dict[int, Ending] = {}
        self._news = threading.Condition()

    def start(self, start: RankStart) -> None:
        """Starts a rank; returns at once. To be called on the main thread, whose end would be the child's."""
        command = [sys.executable, "-P", "-m", _MODULE]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._processes[start.rank] = process
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended already; its watcher says how
            process.stdin.write(msgspec.json.encode(start) + b"\n")
            process.stdin.flush()
        threading.Thread(target=self._watch, args=(start.rank, process), name=f"rank {start.rank}", daemon=True).start()

    def _watch(self, rank: int, process: subprocess.Popen[bytes]) -> None:
        listener = threading.Thread(target=self._listen, args=(rank, process), daemon=True)
        listener.start()
        code = process.wait()
        listener.join(_LAST_WORDS_S)
        reason = self._reasons.get(rank, "")
        with self._news:
            self._ended[rank] = end = Ending(code, f"failed: {reason}" if reason else f"{_described(code)}.")
            on_ended = self._on_ended
            self._news.notify_all()
        on_ended(rank, end)

    def _listen(self, rank: int, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            word, _, rest = (text := line.decode(errors="replace").strip()).partition(" ")
            if word == "failed":
                self._reasons[rank] = rest
            self.on_word(rank, text)

    def watch(self, on_ended: OnEnded) -> None:
        """Has `on_ended` called when one ends, on any thread; at once for those that have."""
        with self._news:
            self._on_ended = on_ended
            ended = dict(self._ended)
        for rank, end in ended.items():
            on_ended(rank, end)

    @property
    def ranks(self) -> frozenset[int]:
        """The ranks that were started here."""
        return frozenset(self._processes)

    def pid(self, rank: int) -> int:
        """Returns the process id of a rank of this node."""
        return self._processes[rank].pid

    def end_of(self, rank: int, wait_s: float) -> Ending | None:
        """Returns how a rank of this node ended, waiting so long for its end; None while it runs."""
        with self._news:
            self._news.wait_for(lambda: rank in self._ended, wait_s)
            return self._ended.get(rank)

    def failure(self) -> str:
        """Returns in a sentence which rank has ended, and how; empty while all run."""
        with self._news:
            for rank, end in self._ended.items():
                return f"Rank {rank} (pid {self.pid(rank)}) {end.words}"
        return ""

    def kill(self, rank: int) -> None:
        """Ends a rank at once, where it was started here and runs."""
        process = self._processes.get(rank)
        if process is not None and process.poll() is None:
            process.kill()

    def stop(self, grace_s: float) -> None:
        """Waits until all have ended; ends those that have not after `grace_s`."""
        deadline = time.monotonic() + grace_s
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_KILLED_S)
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()


def _described(code: int) -> str:
    """Returns in words how a process ended, by what `Popen.returncode` says."""
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
