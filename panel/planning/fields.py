"""Whether a dialect has a use for every field that a deployment sets. Pure.

A field that is quietly ignored is a wrong command later; so a set field that the dialect does not know is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from ...engine.errors import ConfigError
from ..deployment import Deployment
from ..deployment_parts import WorkerSpec
from ..dialects.dialect import Dialect
from ..dialects.routers import check_policies

__all__ = ["COMMON_FIELDS", "check_fields", "fields_of", "set_fields"]

_WORKER_FIELDS = ("flags", "env", "run")
COMMON_FIELDS = frozenset(
    {
        *("version", "name", "engine", "engine_version", "dialect", "model", "served_model_name", "transport", "host"),
        *("hosts", "gpu_selection", "rpc_ports", "restart", "observe", "run", "env", "smoke_test"),
        "slurm",
        *(f"router.{name}" for name in ("kind", "host", "port", "node", "policy", "flags", "env", "run")),
        *(f"workers.{name}" for name in _WORKER_FIELDS),
        *(f"{role}.{name}" for role in ("prefill", "decode") for name in ("count", "hosts", "port", *_WORKER_FIELDS)),
        "limits.ready_timeout_s",
    }
)
_ROLES = ("prefill", "decode", "unified", "encoder")


def set_fields(deployment: Deployment) -> Iterator[str]:
    """Yields the dotted names of the fields that differ from their defaults."""
    yield from _differing(deployment, "")


def _differing(part: BaseModel, prefix: str) -> Iterator[str]:
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        if value == field.get_default(call_default_factory=True):
            continue
        if isinstance(value, BaseModel):
            yield from _differing(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def fields_of(dialect: Dialect) -> frozenset[str]:
    """Returns the dotted names of all fields that a dialect knows, those of every dialect included."""
    return COMMON_FIELDS | dialect.fields


def check_fields(deployment: Deployment, dialect: Dialect, others: Mapping[str, Dialect]) -> None:
    """Raises ConfigError for the first field that `dialect` has no use for."""
    known = fields_of(dialect)
    for field in set_fields(deployment):
        names = _names(field)
        if names & known:
            continue
        speakers = [other.name for other in others.values() if names & fields_of(other)]
        remedy = f"remove it, or use the dialect {' or '.join(speakers)}" if speakers else "remove it"
        raise ConfigError(field, _value(deployment, field), f"means nothing to the dialect {dialect.name}", remedy)
    if deployment.transport not in dialect.transports:
        raise ConfigError(
            "transport",
            deployment.transport,
            f"is not one that the dialect {dialect.name} can use",
            f"write {' or '.join(dialect.transports)}",
        )
    kind = deployment.router.kind
    if kind is not None and kind not in dialect.routers:
        remedy = f"write {' or '.join(dialect.routers)}" if dialect.routers else "leave it out: it brings its own"
        raise ConfigError("router.kind", kind, f"does not speak {dialect.name}", remedy)
    if kind is not None or dialect.routers:
        check_policies(deployment.router, kind or dialect.routers[0])


def _names(field: str) -> set[str]:
    """Returns the field with the parts that it lies in, each as a dialect may know it."""
    parts = field.split(".")
    names = {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
    if parts[0] in _ROLES and parts[1] in WorkerSpec.model_fields:
        names |= {f"workers.{name.partition('.')[2]}" for name in names if "." in name}
    return names


def _value(deployment: Deployment, field: str) -> object:
    value: object = deployment
    for name in field.split("."):
        value = getattr(value, name)
    return value if isinstance(value, str | int | float | bool) else type(value).__name__
