"""A run for a benchmark: started through its runner like any other, stopped whatever happens.

Blocking; the benchmarks call it from a thread of their own. What a run is, `panel.runs` knows.
"""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ...engine.errors import CapacityError, PdpanelError, PeerError
from ..deployment import Deployment, parse_deployment
from ..launch import Role
from ..ports import is_free
from ..runner.lifecycle import ProcessState, RunState
from ..runner.procfs import all_stats, variables
from ..runs import ProcessView, Runs, RunView

__all__ = ["BenchRun", "deployment", "running"]

_POLL_S = 0.1
_READY_S = 300.0
_PORTS = range(20000, 29000)
_BLOCK = 12
_HTTP_S = 10.0
_RUN_ID = "PDPANEL_RUN_ID"
_WORKERS = frozenset({Role.PREFILL, Role.DECODE, Role.UNIFIED})

Tell = Callable[[str], None]


def deployment(
    name: str,
    roles: Mapping[str, int],
    *,
    model: str,
    transport: str,
    fields: Mapping[str, Mapping[str, str | int]] | None = None,
    env: Mapping[str, str] | None = None,
    **flags: str | int,
) -> Deployment:
    """Returns the deployment of a benchmark: workers of the bundled engine in check mode, behind a router.

    All in float32: rounded to bfloat16, near ties between two tokens turn with the size of the batch, on any worker.

    Args:
        roles: how many workers of each role.
        fields: further ones of a role's workers, such as tp.
        env: variables of all processes.
        flags: of all workers, with underscores for dashes.
    """
    base = _free_block()
    first: dict[str, dict[str, str | int]] = {
        "prefill": {"port": base, "bootstrap_port": base + 6},
        "decode": {"port": base + 3},
        "unified": {"port": base},
        "encoder": {"port": base + 10},
    }
    for role, more in (fields or {}).items():
        first[role] |= more
    return parse_deployment(
        {
            "name": name,
            "model": model,
            "transport": transport,
            **{r: {"count": roles[r], **first[r]} if roles.get(r) else {"count": 0} for r in first},
            "router": {"port": base + 9},
            "workers": {
                "kv_cache_dtype": "float32",
                "flags": {"dtype": "float32", **{key.replace("_", "-"): str(value) for key, value in flags.items()}},
            },
            "env": {"PDPANEL_CHECK_PAGES": "1", **(env or {})},
        }
    )


def _free_block() -> int:
    """Returns the first of a row of free ports that runs of others are not given.

    A worker that died leaves its port to whoever asks until it is started again, and another run may ask.
    """
    blocks = len(_PORTS) // _BLOCK
    for number in range(blocks):
        base = _PORTS.start + (os.getpid() + number) % blocks * _BLOCK
        if all(is_free("127.0.0.1", port) for port in range(base, base + _BLOCK)):
            return base
    raise CapacityError(f"There are no {_BLOCK} free ports in a row from {_PORTS.start} to {_PORTS.stop - 1}.")


@dataclass(frozen=True, slots=True)
class BenchRun:
    """A run that is up."""

    runs: Runs
    id: str
    url: str

    def view(self) -> RunView:
        """Returns the run as it is now."""
        return self.runs.get(self.id)

    def workers(self) -> list[ProcessView]:
        """Returns its workers, encoders, router and others left out."""
        return [process for process in self.view().processes if process.role in _WORKERS]

    def encoders(self) -> list[ProcessView]:
        """Returns its encoders."""
        return [process for process in self.view().processes if process.role == Role.ENCODER]

    def addresses(self, name: str) -> tuple[str, ...]:
        """Returns where a process listens, as host:port."""
        spec = self.runs.plan(self.id).process(name)
        assert spec is not None
        return tuple(f"127.0.0.1:{port}" for port in spec.ports.values())

    def log_lines(self, name: str) -> Iterator[str]:
        """Yields the lines of a process's log, those of all its starts."""
        with self.runs.log_path(self.id, name).open(encoding="utf-8", errors="replace") as file:
            yield from file

    def wait_ready(self, tell: Tell = lambda text: None) -> None:
        """Waits until every process is ready.

        Raises:
            PeerError: that does not happen.
        """
        deadline = time.monotonic() + _READY_S
        while (view := self.view()).state is not RunState.READY:
            ended = [p for p in view.processes if p.state is ProcessState.CRASHED]
            if ended or view.state is RunState.FAILED or time.monotonic() > deadline:
                why = "; ".join(f"{p.name} {p.state}: {p.reason or p.stage}" for p in ended) or view.notice
                raise PeerError(f"The run {self.id} is not ready: {why or view.state}.")
            if view.notice:
                tell(view.notice)
            time.sleep(_POLL_S)

    def rank_pids(self, process: ProcessView) -> list[int]:
        """Returns the processes of a worker's ranks beside the first; none when it does not answer."""
        try:
            ranks: list[dict[str, int]] = _info(process).get("ranks", [])
        except (OSError, ValueError):
            return []
        return [rank["pid"] for rank in ranks if rank["rank"] and rank["alive"]]

    def pages_in_use(self) -> dict[str, int]:
        """Returns by worker and pool the pages that are neither free nor kept for later prompts alone.

        Pools are those of all attention groups together, and of each rank the memory where slices are gathered. A
        worker that does not answer counts as one page: nobody knows.
        """
        held: dict[str, int] = {}
        for process in self.workers():
            try:
                info = _info(process)
                pools: dict[str, dict[str, int]] = info["pages"]
                bounces: dict[int, int] = {rank["rank"]: rank["bounce"] for rank in info["ranks"]}
            except (OSError, ValueError, KeyError) as error:
                held[f"{process.name} ({error!r})"] = 1
                continue
            for name, pool in pools.items():
                if pool and (used := pool["total"] - pool["free"] - pool.get("cached", 0)):
                    held[f"{process.name} {name}"] = used
            held |= {f"{process.name} bounce of rank {rank}": used for rank, used in bounces.items() if used}
        return held

    def open_work(self) -> dict[str, int]:
        """Returns by process and kind what has begun there and not ended: requests, rooms, sends, images.

        A process that does not answer counts as one.
        """
        found: dict[str, int] = {}
        for process in (*self.workers(), *self.encoders()):
            try:
                info = _info(process)
                kinds: dict[str, int] = dict(info.get("open", {}))
                if process.role == Role.ENCODER:
                    kinds["images"] = info["images"]["waiting"]
                else:
                    kinds["images"] = sum(encoder["images"] for encoder in info["encoders"])
            except (OSError, ValueError, KeyError) as error:
                kinds = {f"({error!r})": 1}
            found |= {f"{process.name} {kind}": count for kind, count in kinds.items() if count}
        return found

    def processes_left(self) -> list[int]:
        """Returns the processes that carry the run's id, its runner's among them."""
        own = os.getpid()
        return [
            stat.pid
            for stat in all_stats()
            if stat.pid != own and variables(stat.pid, (_RUN_ID,)).get(_RUN_ID) == self.id
        ]


def _info(process: ProcessView) -> Any:
    return _get(f"http://127.0.0.1:{process.port}/server_info")


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=_HTTP_S) as response:
        return json.load(response)


@contextmanager
def running(runs: Runs, wanted: Deployment, tell: Tell) -> Iterator[BenchRun]:
    """Starts a run, waits until it is ready, and stops it at the end.

    Raises:
        PdpanelError: it does not come up.
    """
    before = {view.id for view in runs.list()}
    run_id = ""
    try:
        view = runs.start(wanted)
        run_id = view.id
        tell(f"started {run_id}")
        run = BenchRun(runs, run_id, view.router_url)
        run.wait_ready(tell)
        yield run
    finally:
        # Ctrl-C may come while it starts, before anybody knows its id.
        found = (view.id for view in runs.list() if view.id not in before and view.name == wanted.name)
        for each in [run_id] if run_id else found:
            try:
                runs.stop(each)
            except PdpanelError as error:
                tell(f"{each} could not be stopped: {error}")
