"""The sentences about workers that find no GPUs. Pure; called by `seats`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...engine.errors import ConfigError
from ..deployment import Deployment
from ..launch import Role
from .gpu_count import gpus_of_worker
from .gpu_pool import GpuPool

__all__ = ["beyond", "no_room", "overlap", "too_large", "unknown_gpu"]

_MOST_NAMED = 4


def too_large(deployment: Deployment, role: Role, node: str, there: int) -> ConfigError:
    """Returns the error of a worker that is larger than each of its hosts."""
    spec = deployment.settings(role.value)
    total = gpus_of_worker(spec)
    own = getattr(deployment, role.value)
    size = "tp" if spec.tp is not None else "pp" if spec.pp is not None else "dp"
    where = role.value if getattr(own, size) is not None else "workers"
    nodes = next((count for count in range(2, total + 1) if total % count == 0 and total // count <= there), 0)
    problem = f"makes {role.value}-0 want {total // spec.nodes} GPUs of {_host(node)}, which has {there}"
    if not there:
        remedy = "name hosts with GPUs, or correct their gpus"
    elif deployment.hosts or spec.hosts:
        remedy = f"set {role.value}.nodes: {nodes} and name {nodes * spec.count} hosts, or a smaller {size}"
    else:
        remedy = f"set {role.value}.nodes: {nodes} and name the hosts in {role.value}.hosts, or write a smaller {size}"
    return ConfigError(f"{where}.{size}", getattr(spec, size) or 1, problem, remedy)


def no_room(deployment: Deployment, role: Role, index: int, wanted: int, pools: Mapping[str, GpuPool]) -> ConfigError:
    """Returns the error of a worker that finds no host with GPUs left."""
    spec = deployment.settings(role.value)
    named = [f"{_host(node)} has {pool.left} of {pool.total} left" for node, pool in list(pools.items())[:_MOST_NAMED]]
    if len(pools) > _MOST_NAMED:
        named.append(f"{len(pools) - _MOST_NAMED} more have as few")
    if spec.gpus is not None:
        named.append(f"{role.value}.gpus allows {len(spec.gpus)} on each")
    nodes = f" on each of {spec.nodes} hosts" if spec.nodes > 1 else ""
    problem = f"is too many: {role.value}-{index} wants {_many(wanted)}{nodes}, and {', '.join(named)}"
    remedy = (
        f"set {role.value}.count: {index} or name more hosts" if index else "name more hosts or use smaller workers"
    )
    return ConfigError(f"{role.value}.count", spec.count, problem, remedy)


def beyond(field: str, base: int, worker: str, gpus: Sequence[int], node: str, there: int) -> ConfigError:
    """Returns the error of a first GPU after which there are too few."""
    problem = f"gives {worker} {_span(gpus)} of {_host(node)}, which has {there}"
    fits = there - len(gpus)
    remedy = f"write a number up to {fits}, or leave it out" if fits >= 0 else "use smaller workers"
    return ConfigError(field, base, problem, remedy)


def overlap(field: str, base: int, worker: str, gpus: Sequence[int], other: str, node: str) -> ConfigError:
    """Returns the error of GPUs that another worker has."""
    problem = f"gives {worker} {_span(gpus)} of {_host(node)}, of which {other} has some"
    return ConfigError(field, base, problem, "leave it out, and the plan counts, or write one past the other's GPUs")


def unknown_gpu(field: str, gpu: int, node: str, there: int) -> ConfigError:
    """Returns the error of a GPU that its host has not."""
    remedy = f"write numbers from 0 to {there - 1}" if there else "name hosts with GPUs"
    return ConfigError(field, gpu, f"is not a GPU of {_host(node)}, which has {there}", remedy)


def _many(wanted: int) -> str:
    return "1 GPU" if wanted == 1 else f"{wanted} GPUs side by side"


def _span(gpus: Sequence[int]) -> str:
    return f"GPU {gpus[0]}" if len(gpus) == 1 else f"GPUs {gpus[0]} to {gpus[-1]}"


def _host(node: str) -> str:
    return node or "this host"
