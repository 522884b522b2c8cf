"""The unified deployment that one with prefill and decode apart is compared with: as many workers, else the same.

Pure. What only the transfer between workers needs is left out, and so are ports, since both may run at once. Called by
the routes of the Deploy view for the Benchmark tab.
"""

from __future__ import annotations

from ..engine.errors import ConflictError
from .deployment import Deployment, parse_deployment

__all__ = ["unified_of"]

# What says how prefill and decode are, how they meet, and where; `unified` says it of its workers.
_APART = frozenset(
    "version name prefill decode unified encoder transport nics router metadata store nixl ascend slurm smoke_test "
    "nvlink rpc_ports".split()
)
_LONGEST_NAME = 40


def unified_of(deployment: Deployment) -> Deployment:
    """Returns the same deployment with unified workers, as many as prefill and decode have together.

    Raises:
        ConflictError: it is unified already, or its encoders have no place in a unified one.
        ConfigError: its engine does not serve this way.
    """
    count = deployment.prefill.count + deployment.decode.count
    if deployment.unified.count or not count:
        raise ConflictError("deployment", deployment.name, "is unified already", "compare it with one that is not")
    if deployment.encoder.count:
        problem = f"has {deployment.encoder.count} encoder workers, which unified workers do not ask"
        raise ConflictError("deployment", deployment.name, problem, "write the unified one in Plan")
    kept = deployment.model_dump(mode="json", exclude_unset=True, exclude=set(_APART))
    unified: dict[str, object] = {"count": count}
    hosts = [*(deployment.prefill.hosts or ()), *(deployment.decode.hosts or ())]
    if hosts:
        unified["hosts"] = hosts
    name = f"{deployment.name[:_LONGEST_NAME].rstrip('-')}-unified"
    return parse_deployment({**kept, "name": name, "unified": unified})
