"""The check before the Deploy button, over the real runs: probes this host, asks the doctor and the start itself.

A form asks with every change, so the host is probed once in half a minute and an answer is kept for some seconds.
Called by `source`.
"""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ...engine.errors import PdpanelError
from ...nic_probe import Finding, Host, Topology, probe_host, survey_topology, this_host_files
from ...nic_probe.memory import probe_memory
from ...nic_probe.sources.files import HostFiles
from ..config import inherited_environment
from ..deployment import Deployment, dump_deployment
from ..doctor.arguments_of import arguments_of_plan
from ..doctor.deployment import check_commands
from ..runs import Runs
from ..start.consent import needs_consent
from ..start.start_check import StartReport, Surroundings, check_start

__all__ = ["RunsStartChecks"]

_HOST_S = 30.0
_ANSWER_S = 4.0
_KEPT = 32
_MOST_FILES = 500


class RunsStartChecks:
    """The `StartChecks` over a `Runs`.

    Args:
        runs: asked what a start would refuse.
        clock: seconds that only go forward.
    """

    def __init__(self, runs: Runs, clock: Callable[[], float] = time.monotonic) -> None:
        self._runs = runs
        self._clock = clock
        self._lock = threading.Lock()
        self._host: tuple[float, Host, Topology] | None = None
        self._answers: OrderedDict[str, tuple[float, StartReport]] = OrderedDict()

    def check(self, deployment: Deployment) -> StartReport:
        """Returns what stands in the way of `deployment` on this host; one question is worked on at a time."""
        key = dump_deployment(deployment)
        with self._lock:
            kept = self._answers.get(key)
            if kept is not None and self._clock() - kept[0] < _ANSWER_S:
                return kept[1]
            report = self._look(deployment)
            self._answers[key] = (self._clock(), report)
            self._answers.move_to_end(key)
            while len(self._answers) > _KEPT:
                self._answers.popitem(last=False)
            return report

    def _look(self, deployment: Deployment) -> StartReport:
        host, topology = self._probed()
        told: tuple[Finding, ...] = ()
        refused: PdpanelError | None = None
        try:
            # The plan that a start would make now, with the ports that are free now.
            planned = self._runs.preview(deployment)
            # All of it runs here, whatever its nodes are called.
            workers = [replace(worker, node="") for worker in arguments_of_plan(planned)]
            judged = check_commands(workers, host, topology)
            # The plan has just bound its ports; the probe, which is older, may remember them as taken.
            told = (*planned.findings, *(finding for finding in judged if finding.id != "port-taken"))
            # Nothing is run that the person has not agreed to: only looked for.
            self._runs.check(planned, agreed=not needs_consent(deployment))
        except PdpanelError as error:
            refused = error
        here = Surroundings(
            cores=len(os.sched_getaffinity(0)),
            # The processes are real ones of this machine, whatever its devices are.
            available_bytes=probe_memory(HostFiles()).available_bytes.value
            if self._runs.simulation
            else host.memory.available_bytes.value,
            installed=lambda package: importlib.util.find_spec(package) is not None,
            size_of=_size_of,
        )
        return check_start(deployment, told, refused, here)

    def _probed(self) -> tuple[Host, Topology]:
        if self._host is None or self._clock() - self._host[0] >= _HOST_S:
            environ = inherited_environment()
            simulation = self._runs.simulation
            files = this_host_files(environ) if simulation is None else simulation.files
            host = probe_host(files, environ)
            self._host = (self._clock(), host, survey_topology(host))
        return self._host[1], self._host[2]


def _size_of(name: str) -> int | None:
    """Returns the bytes of a file, or of the weights in a folder; None when nothing of the name is here."""
    path = Path(name)
    try:
        if path.is_file():
            return path.stat().st_size
        if not path.is_dir():
            return None
        files = [file for _, file in zip(range(_MOST_FILES), path.iterdir(), strict=False)]
        return sum(file.stat().st_size for file in files if file.suffix in {".safetensors", ".gguf", ".bin"})
    except OSError:
        return None
