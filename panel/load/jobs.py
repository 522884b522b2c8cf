"""The benchmarks of this user: those that go on, those that are over, imported ones. What panel and CLI ask.

A benchmark is a process of its own, detached from whoever started it; this class starts, stops and reads. What it says
of one that goes on it finds out anew each time, so a panel that was killed and started again says the same.
"""

from __future__ import annotations

import builtins
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ...engine.errors import CapacityError, ConfigError, ConflictError, NotFoundError
from ..accuracy.job import INSTALL, is_installed
from ..accuracy.questions import read_questions
from ..accuracy.task import AccuracySpec, checked_accuracy
from ..runner.journal import tail_lines
from ..runner.procfs import send_signal
from .job import unfinished_entry
from .jobdir import JobDir
from .result import PROGRESS_COLUMNS
from .result_text import arrival_words
from .spec import LoadSpec, checked
from .store import Entry, LoadStore, new_load_id

__all__ = ["ACTIVE", "Loads"]

ACTIVE = frozenset({"starting", "running", "stopping"})
_MOST_ACTIVE = 8
_STARTING_S = 20.0
_STOP_S = 10.0
_POLL_S = 0.05
# A list of results goes without what only one that is looked at needs.
_HEAVY = frozenset({"rows", "curves", "row_columns"})


class Loads:
    """All benchmarks below one folder; every call may block.

    Args:
        folder: where results are; it need not exist yet.
        python: runs the processes.
        evaluator: the Python that has lm-eval, where it is installed.
    """

    def __init__(self, folder: Path, python: str = sys.executable, evaluator: str = sys.executable) -> None:
        self.store = LoadStore(folder)
        self._python = python
        self._evaluator = evaluator
        self._seen: dict[str, tuple[tuple[int, int], Entry]] = {}
        self._lock = threading.Lock()

    def list(self) -> builtins.list[Entry]:
        """Returns every benchmark without its rows and curves, the newest first."""
        entries = {load_id: entry for load_id in self.store.ids() if (entry := self._summary(load_id)) is not None}
        for jobdir in self._jobs():
            if jobdir.job_id not in entries and (entry := self._of_job(jobdir)) is not None:
                entries[jobdir.job_id] = _light(entry)
        return sorted(entries.values(), key=lambda entry: (entry.get("created_at") or 0, entry["id"]), reverse=True)

    def get(self, load_id: str) -> Entry:
        """Returns one benchmark with everything; raises NotFoundError when there is none."""
        entry = self.store.read(load_id)
        if entry is None:
            entry = self._of_job(self._job(load_id))
        if entry is None:
            entry = self.store.read(load_id)  # It was saved in between.
        if entry is None:
            raise NotFoundError("load", load_id, "there is no such result", "choose one of the list")
        return entry

    def start(
        self, spec: LoadSpec, *, name: str = "", labels: Mapping[str, str] | None = None, api_key: str = ""
    ) -> str:
        """Starts a load in a process of its own and returns its id at once.

        Args:
            spec: what to do; it is checked here.
            name: as the person calls it; may be empty.
            labels: what is known of the deployment: run, mode, transport.
            api_key: of the server; it is kept nowhere.

        Raises:
            ConfigError: a field of the spec cannot be.
            CapacityError: eight benchmarks go on already.
        """
        spec = checked(spec)
        about = ", ".join(part for part in ((labels or {}).get("mode"), (labels or {}).get("transport")) if part)
        words = arrival_words(spec)
        return self._start_job(
            "load",
            msgspec.to_builtins(spec),
            name=name or f"{about or spec.url}: {words}, {spec.input}/{spec.output}",
            labels=labels or {},
            api_key=api_key,
            more={"arrival": words},
        )

    def start_accuracy(
        self, spec: AccuracySpec, *, name: str = "", labels: Mapping[str, str] | None = None, api_key: str = ""
    ) -> str:
        """Starts an evaluation and returns its id at once; arguments and errors as of `start`.

        Raises:
            ConfigError: also when lm-eval is not installed, or the file holds no questions.
        """
        spec = checked_accuracy(spec)
        questions = len(read_questions(Path(spec.questions))[: spec.limit])
        if not is_installed(self._evaluator):
            raise ConfigError("accuracy", "lm-eval", "is not installed", f"run {INSTALL}")
        labels = labels or {}
        about = ", ".join(part for part in (labels.get("mode"), labels.get("transport")) if part)
        return self._start_job(
            "accuracy",
            msgspec.to_builtins(spec),
            name=name or f"{about or spec.url}: {questions} questions",
            labels=labels,
            api_key=api_key,
            more={"python": self._evaluator, "arrival": f"{questions} questions, {spec.shots} examples"},
        )

    def evaluates(self) -> bool:
        """Returns True when lm-eval is installed."""
        return is_installed(self._evaluator)

    def add(self, entries: Sequence[Entry]) -> None:
        """Keeps entries that somebody else measured."""
        for entry in entries:
            self.store.save(entry)

    def _start_job(
        self,
        kind: str,
        spec: Mapping[str, Any],
        *,
        name: str,
        labels: Mapping[str, str],
        api_key: str = "",
        more: Mapping[str, Any] | None = None,
    ) -> str:
        if sum(jobdir.process() is not None for jobdir in self._jobs()) >= _MOST_ACTIVE:
            raise CapacityError(f"{_MOST_ACTIVE} benchmarks go on already; wait for one to end, or stop one.")
        now = time.time()
        jobdir = self._dir(new_load_id(now, kind))
        self.store.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        jobdir.create(
            {
                **(more or {}),
                "id": jobdir.job_id,
                "kind": kind,
                "name": name,
                "created_at": now,
                "labels": dict(labels),
                "spec": dict(spec),
            }
        )
        _spawn(jobdir, self._python, api_key)
        return jobdir.job_id

    def stop(self, load_id: str) -> None:
        """Ends a benchmark that goes on and returns when its process has ended; one that is over stays as it is."""
        if self.store.read(load_id) is not None:
            return
        jobdir = self._job(load_id)
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + _STOP_S
            stat = jobdir.process()
            if stat is None and self._of_job(jobdir, died=False) is None:
                return
            if stat is not None:
                send_signal(stat, number)
            while time.monotonic() < deadline:
                if (jobdir.process() is None and jobdir.claimed()) or not jobdir.path.exists():
                    return
                time.sleep(_POLL_S)

    def remove(self, load_id: str) -> None:
        """Removes what is saved of a benchmark that is over; raises ConflictError for one that goes on."""
        if self.get(load_id)["state"] in ACTIVE:
            raise ConflictError("load", load_id, "goes on", "stop it first")
        self.store.remove(load_id)
        self._dir(load_id).remove()

    def _summary(self, load_id: str) -> Entry | None:
        try:
            found = self.store.path(load_id).stat()
        except OSError:
            return None
        stamp = (found.st_mtime_ns, found.st_size)
        with self._lock:
            seen = self._seen.get(load_id)
        if seen is not None and seen[0] == stamp:
            return seen[1]
        entry = self.store.read(load_id)
        if entry is None:
            return None
        with self._lock:
            self._seen[load_id] = (stamp, _light(entry))
        return _light(entry)

    def _of_job(self, jobdir: JobDir, *, died: bool = True) -> Entry | None:
        """Returns what a job's directory tells; None when it holds none, or (unless `died`) when it has ended."""
        job = jobdir.job()
        if job is None:
            return None
        rows, phase = jobdir.told()
        if jobdir.process() is not None:
            entry = unfinished_entry(job, "running", "", rows)
        elif not jobdir.claimed() and 0 <= time.time() - job["created_at"] < _STARTING_S:
            entry = unfinished_entry(job, "starting", "", rows)
        elif not died or self.store.path(jobdir.job_id).exists():
            return None
        else:
            return unfinished_entry(job, "died", _why_died(jobdir), rows) | {"ended_at": None}
        return entry | {"phase": phase, "ended_at": None, "notes": [], "rows": rows, "row_columns": [*PROGRESS_COLUMNS]}

    def _jobs(self) -> Sequence[JobDir]:
        folder = self.store.folder / "jobs"
        try:
            names = os.listdir(folder)
        except OSError:
            return ()
        return [JobDir(folder / name) for name in names]

    def _dir(self, load_id: str) -> JobDir:
        self.store.path(load_id)  # Refuses what is no id.
        return JobDir(self.store.folder / "jobs" / load_id)

    def _job(self, load_id: str) -> JobDir:
        jobdir = self._dir(load_id)
        if not jobdir.path.exists() and self.store.read(load_id) is None:
            raise NotFoundError("load", load_id, "there is no such result", "choose one of the list")
        return jobdir


def _light(entry: Entry) -> Entry:
    return {key: value for key, value in entry.items() if key not in _HEAVY}


def _why_died(jobdir: JobDir) -> str:
    if jobdir.other_boot():
        return "The host was restarted while it went on; what it had measured until then is below."
    said = tail_lines(jobdir.log, 1)
    why = f" The last line of its log: {said[0]}" if said else ""
    return f"Its process ended without a result; what it had measured until then is below.{why}"


def _spawn(jobdir: JobDir, python: str, api_key: str) -> None:
    """Starts the process in a session of its own; a thread collects its exit, so that no zombie stays behind."""
    descriptor = os.open(jobdir.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        popen = subprocess.Popen(
            [python, "-m", "pdpanel.panel.load", str(jobdir.path)],
            stdin=subprocess.PIPE,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            cwd=jobdir.path,
            start_new_session=True,
            close_fds=True,
        )
    finally:
        os.close(descriptor)
    assert popen.stdin is not None
    try:
        popen.stdin.write(api_key.encode())
        popen.stdin.close()
    except OSError:
        pass  # It has ended already, and its directory says so.
    threading.Thread(target=popen.wait, name=f"load {jobdir.job_id}", daemon=True).start()
