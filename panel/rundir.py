"""A run's directory on disk: the only thing of a run that lives as long as the run does.

Owns the names of its files and how they are written; knows nothing of what is in them beyond bytes. Runner
and clients meet here: the plan, the last known state, the logs, the samples, the runner's lock and its
socket.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["RunDir", "new_run_id"]

_SOCKET_PATH_BYTES = 107
_LOCK_TIMEOUT_S = 0.5


def new_run_id(name: str, now: float) -> str:
    """Returns an id that does not repeat: the run's name, the time in UTC and four random digits."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    return f"{name}-{stamp}-{secrets.token_hex(2)}"


@dataclass(frozen=True, slots=True)
class RunDir:
    """The directory at `path`; its last part is the run's id."""

    path: Path

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.path.name

    @property
    def deployment(self) -> Path:
        """The Deployment that the run was started from, YAML."""
        return self.path / "deployment.yaml"

    @property
    def plan(self) -> Path:
        """The LaunchPlan, JSON."""
        return self.path / "plan.json"

    @property
    def next_plan(self) -> Path:
        """The plan that the run is asked to go over to, JSON."""
        return self.path / "plan.next.json"

    @property
    def next_deployment(self) -> Path:
        """The Deployment of that plan, YAML."""
        return self.path / "deployment.next.yaml"

    @property
    def state(self) -> Path:
        """The last known RunRecord, JSON, replaced as a whole."""
        return self.path / "state.json"

    @property
    def samples(self) -> Path:
        """The samples, SQLite."""
        return self.path / "samples.sqlite"

    @property
    def summary(self) -> Path:
        """What the run came to, JSON; written when it has ended."""
        return self.path / "summary.json"

    @property
    def logs(self) -> Path:
        """The folder of the processes' logs."""
        return self.path / "logs"

    @property
    def runner_log(self) -> Path:
        """What the runner says, one JSON object a line."""
        return self.path / "runner.log"

    @property
    def webhook(self) -> Path:
        """The URL that hears of crashes; there for runs that have one."""
        return self.path / "webhook"

    @property
    def markers(self) -> Path:
        """The folder, shared by all runs, of models that were prepared before."""
        return self.path.parent.parent / "models"

    def create(self) -> None:
        """Makes the directory and its folders, for this user alone."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.mkdir(mode=0o700)
        self.logs.mkdir(mode=0o700)

    def write(self, path: Path, data: bytes) -> None:
        """Replaces the file `path` by `data` as a whole: a reader sees the old or the new one."""
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            os.replace(scratch, path)
        except OSError:  # a full disk
            scratch.unlink(missing_ok=True)
            raise

    @contextmanager
    def socket_address(self) -> Iterator[str]:
        """Yields an address of the runner's socket that fits AF_UNIX's 108 bytes, however long the path is.

        A longer path is taken through a descriptor of the directory, which the kernel resolves like a link.
        """
        address = str(self.path / "runner.sock")
        if len(os.fsencode(address)) <= _SOCKET_PATH_BYTES:
            yield address
            return
        directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{directory}/runner.sock"
        finally:
            os.close(directory)

    def try_lock(self) -> int | None:
        """Returns a descriptor that holds the runner's lock until it is closed, None if a runner holds it."""
        descriptor = os.open(self.path / "runner.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def take_lock(self) -> int | None:
        """Returns `try_lock`'s descriptor, waiting for those that only look; None if a runner holds the lock."""
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        while (lock := self.try_lock()) is None and time.monotonic() < deadline:
            time.sleep(0.005)
        return lock

    def is_supervised(self) -> bool:
        """Returns True while a runner, or whoever starts one, holds the lock."""
        try:
            descriptor = os.open(self.path / "runner.lock", os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            # Shared: those who only look are not in each other's way.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def last_sign(self) -> float | None:
        """Returns when something of the run was last written, unix seconds; None if nothing is there."""
        files = (self.state, self.samples, self.samples.with_name(f"{self.samples.name}-wal"), self.runner_log)
        times: list[float] = []
        for path in (*files, *(self.logs.iterdir() if self.logs.is_dir() else ())):
            try:
                times.append(path.stat().st_mtime)
            except OSError:
                continue
        return max(times, default=None)

    def is_lock(self, descriptor: int) -> bool:
        """Returns True if `descriptor` is the runner's lock, taken by whoever handed it over."""
        try:
            there, ours = os.stat(self.path / "runner.lock"), os.fstat(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
