"""Workers of several ranks, each pair behind a router of its own, for tests of topologies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster import Cluster
from pd_http import free_port

__all__ = ["Pairing", "spread_clusters"]


@dataclass(frozen=True)
class Pairing:
    """What one router stands before: a prefill and a decode worker, or a unified one alone.

    Attributes:
        prefill: flags of the prefill worker; the unified worker's where there is no decode worker.
    """

    prefill: Sequence[str]
    decode: Sequence[str] | None = None


@contextlib.contextmanager
def spread_clusters(
    folder: Path, model: str, flags: Sequence[str], wanted: Mapping[str, Pairing]
) -> Iterator[dict[str, Cluster]]:
    """Starts all pairings at once, and ends them with the block.

    Args:
        flags: of all workers.
    """
    made: dict[str, Cluster] = {}
    try:
        for name, pairing in wanted.items():
            (folder / name).mkdir()
            made[name] = cluster = Cluster(folder / name)
            common = ["--model-path", model, *flags]
            if pairing.decode is None:
                cluster.spawn("unified-0", "launch_server", [*common, *pairing.prefill], free_port())
                continue
            bootstrap = free_port()
            own = ["--disaggregation-mode", "prefill", "--disaggregation-bootstrap-port", str(bootstrap)]
            first = cluster.spawn("prefill-0", "launch_server", [*common, *own, *pairing.prefill], free_port())
            first.bootstrap = bootstrap
            own = ["--disaggregation-mode", "decode"]
            cluster.spawn("decode-0", "launch_server", [*common, *own, *pairing.decode], free_port())
        for cluster in made.values():
            router = _router_flags(cluster)
            for process in tuple(cluster.processes.values()):
                process.wait_ready("/health")
            cluster.spawn("router", "launch_router", router, free_port())
        for cluster in made.values():
            cluster.processes["router"].wait_ready("/readiness")
        yield made
    finally:
        for cluster in made.values():
            cluster.stop()


def _router_flags(cluster: Cluster) -> list[str]:
    if (unified := cluster.processes.get("unified-0")) is not None:
        return ["--worker-urls", unified.url]
    prefill, decode = cluster.processes["prefill-0"], cluster.processes["decode-0"]
    return ["--pd-disaggregation", "--prefill", prefill.url, str(prefill.bootstrap), "--decode", decode.url]
