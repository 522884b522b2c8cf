"""How many GPUs a worker takes. Pure."""

from __future__ import annotations

from ...engine.errors import ConfigError
from ..deployment_parts import RoleSpec

__all__ = ["MOST_GPUS", "check_division", "gpus_of_process", "gpus_of_worker"]

MOST_GPUS = 1024
"""More than any node has; a number above it is a slip, and would cost memory for each."""


def gpus_of_worker(spec: RoleSpec) -> int:
    """Returns tp * pp * dp of a worker; with DP attention the data parallel ranks share tp's GPUs.

    Source: SGLang 0.5.23, compute_world_size; vLLM's parallel configuration counts alike.
    """
    dp = 1 if spec.dp_attention or (spec.attn_dp or 1) > 1 else spec.dp or 1
    return (spec.tp or 1) * (spec.pp or 1) * dp


def gpus_of_process(spec: RoleSpec) -> int:
    """Returns how many of a worker's GPUs are on each of its nodes, at least one."""
    return max(1, gpus_of_worker(spec) // spec.nodes)


def check_division(spec: RoleSpec, role: str) -> None:
    """Raises ConfigError when a worker's GPUs do not divide evenly over its nodes, or are more than any node has."""
    total = gpus_of_worker(spec)
    if gpus_of_process(spec) > MOST_GPUS:
        problem = f"comes to {total} GPUs on {spec.nodes} node{'s' if spec.nodes > 1 else ''} with pp and dp"
        remedy = f"lower tp, pp or dp, or raise {role}.nodes, to {MOST_GPUS} GPUs of a node at most"
        raise ConfigError(f"{role}.tp", spec.tp or 1, problem, remedy)
    if spec.nodes > 1 and total % spec.nodes:
        fitting = [str(nodes) for nodes in range(1, min(total, 64) + 1) if total % nodes == 0]
        problem = f"does not divide the {total} GPUs of a worker evenly"
        raise ConfigError(f"{role}.nodes", spec.nodes, problem, f"write {' or '.join(fitting[:6])}")
