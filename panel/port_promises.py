"""The ports that runs of this user on this host will use, whichever state directory they belong to.

A small file for each run, in a folder of this user alone: written under the lock of all starts, before the run's runner
exists, and worth something as long as the run lives. So two starts never choose the same port between planning and
binding, and a process that is about to be started again keeps its own. `run_store` asks, `run_start` writes.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..engine.errors import ConfigError
from .file_lock import locked
from .rundir import RunDir
from .runner.lifecycle import FINAL
from .runner.procfs import boot_id
from .runner.state import read_record
from .unsupervised import without_runner

__all__ = ["PortPromises", "claim_own_folder", "is_living"]

_FIELD = "PDPANEL_RUNTIME_DIR"
_NETWORK = "/proc/self/ns/net"


@dataclass(frozen=True, slots=True)
class _Promise:
    """What one file says.

    Attributes:
        run: the run's directory, absolute.
        ports: what its processes listen on.
        network: the network namespace in which they do; ports of two namespaces do not meet.
    """

    run: str
    ports: tuple[int, ...]
    network: str


def is_living(rundir: RunDir) -> bool:
    """Returns True while a run has a runner, or processes that live, so that its ports are its own."""
    record = read_record(rundir.state)
    if record is None or record.state in FINAL or record.boot_id != boot_id():
        return False
    return rundir.is_supervised() or without_runner(record, rundir).state not in FINAL


def _is_over(rundir: RunDir) -> bool:
    # A failed run whose runner is there can be started again by that.
    return not rundir.is_supervised() and not is_living(rundir)


def claim_own_folder(path: Path) -> None:
    """Makes the folder if it is not there, and looks whether it is this user's alone.

    Raises:
        ConfigError: it is not, or cannot be made; what others may write there is never believed.
    """
    remedy = f"remove it, or name a folder of your own with {_FIELD}"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        problem = f"cannot be made: {error.strerror}"
        raise ConfigError(_FIELD, str(path), problem, f"name a folder of your own with {_FIELD}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigError(_FIELD, str(path), "is a link and no folder", remedy)
    if found.st_uid != os.geteuid():
        raise ConfigError(_FIELD, str(path), f"belongs to another user, number {found.st_uid}", remedy)
    if found.st_mode & 0o077:
        mode = oct(stat.S_IMODE(found.st_mode))[2:]
        raise ConfigError(_FIELD, str(path), f"is open to other users: its mode is {mode}", f"run chmod 700 {path}")


class PortPromises:
    """The promises in the folder `folder`; nothing is made before the first start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = folder / "ports"

    @contextmanager
    def one_start(self) -> Iterator[None]:
        """Holds the lock of all starts of this user; clears away what is over.

        Raises:
            ConfigError: the folder is not this user's alone.
        """
        claim_own_folder(self._folder)
        with locked(self._folder / "start.lock"):
            self._files.mkdir(mode=0o700, exist_ok=True)
            for path, promise in self._read():
                if promise is None or _is_over(RunDir(Path(promise.run))):
                    path.unlink(missing_ok=True)
            yield

    def make(self, rundir: RunDir, ports: Collection[int]) -> None:
        """Promises `ports` to a run that is about to start; only within `one_start`."""
        name = hashlib.sha256(os.fsencode(rundir.path)).hexdigest()[:32]
        promise = _Promise(str(rundir.path), tuple(ports), os.readlink(_NETWORK))
        rundir.write(self._files / f"{name}.json", msgspec.json.encode(promise))

    def promised(self) -> dict[int, str]:
        """Returns the ports of living runs in this network namespace, with the run's id.

        Raises:
            ConfigError: the folder is not this user's alone.
        """
        if not self._files.exists():
            return {}
        claim_own_folder(self._folder)
        network = os.readlink(_NETWORK)
        found: dict[int, str] = {}
        for _path, promise in self._read():
            if promise is None or promise.network != network:
                continue
            rundir = RunDir(Path(promise.run))
            if is_living(rundir):
                found |= dict.fromkeys(promise.ports, rundir.run_id)
        return found

    def _read(self) -> Iterator[tuple[Path, _Promise | None]]:
        for path in sorted(self._files.glob("*.json")):
            try:
                yield path, msgspec.json.decode(path.read_bytes(), type=_Promise)
            except FileNotFoundError:
                continue
            except (OSError, msgspec.MsgspecError):
                yield path, None
