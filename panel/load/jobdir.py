"""The directory of a benchmark that goes on: what it is, who runs it, and what it has measured so far.

`loads/jobs/ID/` holds job.json (what was asked), process.json (who runs it), rows.jsonl (samples of progress) and
log.txt. The process writes, everybody reads; it goes when the result is saved. A process is known by boot id, pid and
start ticks, so one that died, or a reboot, is never taken for one that runs.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runner.procfs import Stat, boot_id, read_stat
from .store import write_whole

__all__ = ["JobDir"]

_MOST_ROW_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class JobDir:
    """The directory at `path`; its last part is the job's id."""

    path: Path

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self.path.name

    @property
    def store_folder(self) -> Path:
        """Where its result will be saved."""
        return self.path.parent.parent

    @property
    def log(self) -> Path:
        """What the process says, for the case that it ends without a result."""
        return self.path / "log.txt"

    def create(self, job: Mapping[str, Any]) -> None:
        """Makes the directory, for this user alone, with what is asked."""
        self.path.mkdir(mode=0o700, parents=True)
        write_whole(self.path / "job.json", json.dumps(job).encode())

    def job(self) -> dict[str, Any] | None:
        """Returns what was asked, None when there is no job that can be read."""
        return _object(self.path / "job.json")

    def claim(self) -> None:
        """Notes that this process runs the job."""
        stat = read_stat(os.getpid())
        assert stat is not None
        who = {"pid": stat.pid, "start_ticks": stat.start_ticks, "boot_id": boot_id()}
        write_whole(self.path / "process.json", json.dumps(who).encode())

    def claimed(self) -> bool:
        """Returns True when a process has ever run the job."""
        return (self.path / "process.json").exists()

    def process(self) -> Stat | None:
        """Returns the process that runs the job, None when it has ended or there was none yet."""
        who = _object(self.path / "process.json")
        if who is None or who.get("boot_id") != boot_id():
            return None
        pid, ticks = who.get("pid"), who.get("start_ticks")
        stat = read_stat(pid) if isinstance(pid, int) else None
        return stat if stat is not None and stat.alive and stat.start_ticks == ticks else None

    def other_boot(self) -> bool:
        """Returns True when the job was run before the host was restarted."""
        who = _object(self.path / "process.json")
        return who is not None and who.get("boot_id") != boot_id()

    def tell(self, value: object) -> None:
        """Appends a sample (a list) or a change of phase (an object); a full disk costs the sample."""
        try:
            with (self.path / "rows.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(value) + "\n")
        except OSError:
            return

    def told(self) -> tuple[list[list[float | None]], dict[str, Any]]:
        """Returns the samples so far and the newest phase."""
        rows: list[list[float | None]] = []
        phase: dict[str, Any] = {}
        try:
            with (self.path / "rows.jsonl").open("rb") as file:
                text = file.read(_MOST_ROW_BYTES)
        except OSError:
            return rows, phase
        for line in text.split(b"\n")[:-1]:  # The last one may be half written.
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, list):
                rows.append(value)
            elif isinstance(value, dict):
                phase = value
        return rows, phase

    def remove(self) -> None:
        """Removes the directory with everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)


def _object(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
