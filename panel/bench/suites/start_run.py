"""One start of a prefill and a decode worker as a person does it: `pdpanel up` as a process, then a request. Blocking.

In a state folder of its own, so that nobody's runs are touched; the cache of models is the person's, and warm. The
request is sent as soon as the command has returned.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ....engine.errors import PeerError
from ...rundir import RunDir
from ...runner.procfs import read_stat
from ...runner.state import RunRecord, read_record
from .start_phases import Moments, phases_of

__all__ = ["Start", "start_once", "started"]

_TIMEOUT_S = 300.0
_BODY = {
    "text": "The capital of France is",
    "sampling_params": {"temperature": 0, "max_new_tokens": 2, "ignore_eos": True},
    "stream": True,
}
_WORKERS = frozenset({"prefill", "decode", "unified"})


@dataclass(frozen=True, slots=True)
class Start:
    """A start that ended in a token.

    Attributes:
        seconds: from the process of the command to the first token.
        phases: of them, in order; see `start_phases`.
        record: of the run, as it was then.
    """

    seconds: float
    phases: Mapping[str, float]
    record: RunRecord


@contextmanager
def started(environment: Mapping[str, str], state_dir: Path, arguments: Sequence[str]) -> Iterator[Start]:
    """Starts a run, asks it for a token, and stops it at the end.

    Args:
        environment: of the command.
        state_dir: an absolute folder in which no other run is active.
        arguments: of `pdpanel up`.

    Raises:
        PeerError: no run comes up, or it gives no token.
    """
    pdpanel = [sys.executable, "-m", "pdpanel.panel.cli", "--state-dir", str(state_dir)]
    began = time.time()
    up = subprocess.run(
        [*pdpanel, "up", *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    returned = time.time()
    try:
        if up.returncode:
            said = " ".join(up.stderr.decode(errors="replace").splitlines()[:3])
            raise PeerError(f"`pdpanel up` ended with {up.returncode}: {said or 'it is silent'}.")
        rundir = RunDir(max((state_dir / "runs").iterdir(), key=lambda path: path.name))
        record = read_record(rundir.state)
        if record is None or record.runner_pid is None or (runner := read_stat(record.runner_pid)) is None:
            raise PeerError(f"The run {rundir.run_id} has no runner.")
        runner_began = time.time() - runner.age_s
        asked = time.time()
        _await_token(record.router_url)
        # What was read in between is not part of a start.
        token = returned + time.time() - asked
        moments = Moments(began, record.created_at, runner_began, returned, token)
        yield Start(token - began, _phases(moments, rundir, record), record)
    finally:
        subprocess.run(
            [*pdpanel, "down", "--all"], env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )


def start_once(environment: Mapping[str, str], state_dir: Path, arguments: Sequence[str]) -> Start:
    """Returns a start whose run has been stopped again; see `started`."""
    with started(environment, state_dir, arguments) as start:
        return start


def _await_token(url: str) -> None:
    request = urllib.request.Request(
        f"{url}/generate", json.dumps(_BODY).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
        for line in response:
            if line.startswith(b"data:"):
                event = json.loads(line.removeprefix(b"data:"))
                if event.get("output_ids"):
                    return
                raise PeerError(f"The first event has no token: {line.decode(errors='replace')[:200].strip()}.")
    raise PeerError(f"{url} answered without an event.")


def _phases(moments: Moments, rundir: RunDir, record: RunRecord) -> dict[str, float]:
    logs = {
        process.name: (rundir.logs / process.log).read_text(errors="replace").splitlines()
        for process in record.processes
        if process.role in _WORKERS
    }
    try:
        return phases_of(moments, rundir.runner_log.read_text(errors="replace").splitlines(), logs)
    except ValueError as error:
        raise PeerError(f"The logs of {rundir.run_id} tell no whole start: {error}.") from None
