"""The sources that the runner of a plan follows, and the series that they fill.

Called once by the runner's main; what is read and how is the business of the files that are named here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...nic_probe.sources.files import HostFiles
from ..launch import LaunchPlan, Role
from ..rundir import RunDir
from ..simulate.simulation import Simulation
from ..telemetry.series_info import SeriesInfo
from .following import TelemetrySource
from .gpu_source import GpuSource
from .host_source import HostSource, memory_total
from .link_source import LinkSource, link_limits, wanted_links
from .mooncake_source import MooncakeLogs
from .series import known_series

__all__ = ["Sources", "sources_of"]

_LOGGING = frozenset({Role.PREFILL, Role.DECODE, Role.UNIFIED, Role.STORE})


@dataclass(frozen=True, slots=True)
class Sources:
    """What a run is sampled from.

    Attributes:
        series: every series that the run can have, by key.
        followed: what is read beside the processes.
    """

    series: Mapping[str, SeriesInfo]
    followed: Sequence[TelemetrySource]


def sources_of(
    plan: LaunchPlan,
    rundir: RunDir,
    environ: Mapping[str, str],
    files: HostFiles | None = None,
    simulation: Simulation | None = None,
    latest: Callable[[], Mapping[str, float]] = dict,
    on_gpu_sizes: Callable[[Mapping[str, float]], None] = lambda sizes: None,
) -> Sources:
    """Returns the sources for a run of `plan` on this host.

    Args:
        plan: of the run.
        rundir: where its logs are.
        environ: for processes that ask drivers.
        files: the live host's unless a test names others.
        simulation: the simulated host that the run is of, if it is of one.
        latest: returns the values of the last row; a simulated GPU follows those of its worker.
        on_gpu_sizes: told in some thread how many bytes each GPU has, once a driver says it.
    """
    root = str(simulation.root) if simulation else "/"
    if files is None:
        files = simulation.files if simulation else HostFiles()
    devices = wanted_links(plan, files)
    limits = link_limits([key for _, keys in devices for key in keys], files)
    followed: list[TelemetrySource] = [HostSource()]
    followed += [LinkSource(device, keys, files, root) for device, keys in devices]
    logs = {spec.name: rundir.logs / spec.log for spec in plan.processes if spec.role in _LOGGING}
    if logs:
        followed.append(MooncakeLogs(logs))
    gpus = tuple(dict.fromkeys(gpu for spec in plan.processes for gpu in spec.gpus))
    if simulation is not None:
        from ..simulate.sources import EngineTraffic, SimulatedGpus  # only here: real runs need nothing of it

        followed += [EngineTraffic(plan, simulation), SimulatedGpus(plan, simulation, latest)]
    elif gpus:
        followed.append(GpuSource(gpus, environ, on_gpu_sizes))
    sizes = {seat.gpu: seat.memory_bytes for seat in simulation.seats} if simulation else {}
    return Sources(known_series(plan, limits, memory_total(), sizes), followed)
