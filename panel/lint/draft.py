"""A Deployment while it is put together from commands: its fields by their dotted names. Pure."""

from __future__ import annotations

import copy
from typing import Any

from ..deployment import Deployment, parse_deployment
from ..deployment_parts import AscendSpec, LimitsSpec, MetadataSpec, NixlSpec, RouterSpec, StoreSpec
from ..dialects.dialect import Dialect
from ..planning.fields import fields_of

__all__ = ["DeploymentDraft"]

_WHOLES = {
    "store": StoreSpec,
    "limits": LimitsSpec,
    "nixl": NixlSpec,
    "ascend": AscendSpec,
    "metadata": MetadataSpec,
    "router": RouterSpec,
}


class DeploymentDraft:
    """Fields that grow.

    Attributes:
        fields: as in a deployment file.
        known: the dotted names that the dialect makes something of.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.fields: dict[str, Any] = {}
        self._dialect = dialect
        self.known = self._all_of(fields_of(dialect))

    def is_of(self, dialect: Dialect) -> bool:
        """Returns True when the draft is for this dialect."""
        return self._dialect is dialect

    @staticmethod
    def _all_of(known: frozenset[str]) -> frozenset[str]:
        """Returns the names with those of each role that stand behind `workers.`, and parts of a known whole."""
        roles = ("prefill", "decode", "unified", "encoder")
        spread = {
            f"{role}.{name.removeprefix('workers.')}" for name in known if name.startswith("workers.") for role in roles
        }
        wholes = {f"{name}.{part}" for name in known & _WHOLES.keys() for part in _parts(name)}
        return known | spread | wholes

    def knows(self, role: str) -> frozenset[str]:
        """Returns the fields of a role that the dialect makes something of."""
        return frozenset(name.removeprefix(f"{role}.") for name in self.known if name.startswith(f"{role}."))

    def set(self, field: str, value: Any) -> None:
        """Sets a field by its dotted name."""
        target = self.fields
        *parents, name = field.split(".")
        for parent in parents:
            target = target.setdefault(parent, {})
        target[name] = value

    def get(self, field: str) -> Any:
        """Returns a field; None when it is not set."""
        value: Any = self.fields
        for name in field.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def drop(self, field: str) -> Any:
        """Takes a field away, and returns what it was; None when it is not set."""
        target: Any = self.fields
        *parents, name = field.split(".")
        for parent in parents:
            target = target.get(parent) if isinstance(target, dict) else None
        return target.pop(name, None) if isinstance(target, dict) else None

    def with_field(self, field: str, value: Any) -> DeploymentDraft:
        """Returns a copy in which one field is different; None takes it away."""
        other = object.__new__(DeploymentDraft)
        other.known, other._dialect, other.fields = self.known, self._dialect, copy.deepcopy(self.fields)
        if value is None:
            other.drop(field)
        else:
            other.set(field, value)
        return other

    def deployment(self) -> Deployment:
        """Returns the deployment that the fields make.

        Raises:
            ConfigError: a field is wrong.
        """
        return parse_deployment(self.fields)


def _parts(name: str) -> tuple[str, ...]:
    return tuple(_WHOLES[name].model_fields)
