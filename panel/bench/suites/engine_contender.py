"""A contender of the `engine` suite: one program with one number of threads, in a process of its own.

It loads once and measures on command over a pipe, so that imports and thread settings do not mix and rounds can be
interleaved. Blocking; `engine` asks, `engine_worker` answers. It ends with its pipe, whatever becomes of us.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ....engine.errors import PeerError

__all__ = ["Contender", "Setup", "close_all"]

_LIMIT_S = 600.0
_STOP_S = 5.0


@dataclass(frozen=True, slots=True)
class Setup:
    """What a contender is told when it starts.

    Attributes:
        program: one of `engine_worker.PROGRAMS`.
        threads: that compute.
        cores: how many there are; what is not timed may use all.
        model: as a person names it; it has been fetched and converted already.
        cache_dir: where it lies.
        longest: tokens of the longest prompt or context.
    """

    program: str
    threads: int
    cores: int
    model: str
    cache_dir: str
    longest: int
    seed: int


class Contender:
    """A process that is started; `wait_ready` before anything is asked.

    Attributes:
        about: what it says of itself once it is ready.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.engine_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )
        self._tell(asdict(setup))
        self.about: dict[str, Any] = {}

    def wait_ready(self) -> dict[str, Any]:
        """Returns what it says of itself, once it has loaded.

        Raises:
            PeerError: it ends instead of coming up, such as for a package that is not installed.
        """
        self.about = self._answer()
        return self.about

    def ask(self, what: str, **arguments: object) -> Any:
        """Returns what a method of the program answers, as plain JSON values.

        Raises:
            PeerError: the process has ended, or the method failed.
        """
        self._tell({"do": what, **arguments})
        return self._answer()

    def hang_up(self) -> None:
        """Lets the process end, without waiting for it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except OSError:
            pass

    def close(self) -> None:
        """Ends the process."""
        self.hang_up()
        process = self._process
        assert process.stdout is not None
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        self._errors.close()

    def _tell(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._ended() from None

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        with _at_most(_LIMIT_S, self._process.kill):
            line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(f"{self.setup.program} cannot be measured: {answer['error']}")
        return answer["value"]

    def _ended(self) -> PeerError:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        why = f": {lines[-1]}" if lines else ""
        return PeerError(f"{self.setup.program} ended with exit code {code}{why}")


def close_all(contenders: Iterable[Contender]) -> None:
    """Ends processes, all at once."""
    contenders = list(contenders)
    for contender in contenders:
        contender.hang_up()
    for contender in contenders:
        contender.close()


class _at_most:
    """Calls `end` when the block takes longer than `seconds`."""

    def __init__(self, seconds: float, end: Callable[[], object]) -> None:
        self._timer = threading.Timer(seconds, end)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *ignored: object) -> None:
        self._timer.cancel()
