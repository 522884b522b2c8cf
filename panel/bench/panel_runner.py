"""A real runner that watches processes which do nothing: what an idle run costs. Blocking."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...engine.errors import PdpanelError, PeerError
from ..config import read_config
from ..deployment import Deployment, parse_deployment
from ..host_facts import HostFacts
from ..launch import LaunchPlan, ProcessSpec, Readiness, Role
from ..plan import RunIds
from ..planning.kept import Kept
from ..planning.node_facts import Nodes
from ..rundir import RunDir
from ..runner.lifecycle import RunState
from ..runner.state import read_record
from ..runs import Runs

__all__ = ["idle_runner"]

_READY_S = 60.0


def _plan(deployment: Deployment, host: HostFacts, ids: RunIds, nodes: Nodes, kept: Kept | None = None) -> LaunchPlan:
    """Returns a plan of processes that sleep."""
    return LaunchPlan(
        run_name=deployment.name,
        model="none",
        transport="none",
        host="127.0.0.1",
        router_url="",
        processes=tuple(
            ProcessSpec(
                name=f"decode-{place}",
                role=Role.DECODE,
                node="",
                argv=("sleep", "86400"),
                env={},
                cwd=ids.run_dir,
                ports={},
                ready=Readiness("", _READY_S),
                log=f"decode-{place}.log",
            )
            for place in range(deployment.decode.count or 1)
        ),
    )


@contextmanager
def idle_runner(folder: Path, processes: int) -> Iterator[int]:
    """Yields the pid of a runner whose processes are ready and idle.

    Raises:
        PdpanelError: it does not come up.
    """
    config = read_config(state_dir=folder, cache_dir=folder / "cache", config_dir=folder / "config")
    runs = Runs(config, _plan)
    view = runs.start(
        parse_deployment({"name": "idle", "model": "none", "prefill": {"count": 1}, "decode": {"count": processes}})
    )
    try:
        deadline = time.monotonic() + _READY_S
        while runs.get(view.id).state is not RunState.READY:
            if time.monotonic() > deadline:
                raise PeerError(f"The idle run is not ready: {runs.get(view.id).notice or 'nothing says why'}.")
            time.sleep(0.1)
        record = read_record(RunDir(config.runs_dir / view.id).state)
        if record is None or record.runner_pid is None:
            raise PeerError("The idle run has no runner.")
        yield record.runner_pid
    finally:
        try:
            runs.stop(view.id)
        except PdpanelError:
            # Whoever watches was told by what failed before; the processes end by themselves in a day.
            pass
