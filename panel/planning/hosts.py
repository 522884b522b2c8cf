"""The hosts that a deployment names: their names one by one, and what it says of each. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from pydantic_core import PydanticCustomError

from ...engine.errors import ConfigError
from ..deployment import Deployment
from ..deployment_parts import HostSpec, RunSpec
from ..deployment_rules import reachable_host
from ..launch import Role
from ..recipes.slurm_nodes import MOST_NODES, expand_nodes

__all__ = ["HostTable", "expand_hosts", "is_loopback"]

_MOST_HOSTS = 2 * MOST_NODES


class HostTable:
    """Looks up hosts by name; a name such as node[1-8] in `hosts` stands for eight.

    Raises:
        ConfigError: a name is broken, or several hosts have one address.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._specs: dict[str, HostSpec] = {}
        for pattern, spec in deployment.hosts.items():
            names = expand_hosts("hosts", [pattern])
            if len(names) > 1 and spec.address is not None:
                field, problem = f"hosts.{pattern}.address", f"is one address for {len(names)} hosts"
                raise ConfigError(field, spec.address, problem, "leave it out, or write one entry for each host")
            if len(names) > 1:
                for name in names:
                    self._specs.setdefault(name, spec)
            else:
                self._specs |= dict.fromkeys(names, spec)
            if len(self._specs) > _MOST_HOSTS:
                raise ConfigError("hosts", pattern, f"is one of more than {_MOST_HOSTS} hosts", "name fewer")
        self._by_address = {spec.address: name for name, spec in self._specs.items() if spec.address is not None}

    def spec(self, node: str) -> HostSpec | None:
        """Returns what the deployment says of `node`; the empty name is this host, of which it says nothing."""
        return self._specs.get(node) if node else None

    def specs(self) -> dict[str, HostSpec]:
        """Returns what is said of hosts, by name."""
        return dict(self._specs)

    def address(self, node: str) -> str:
        """Returns where others reach `node`."""
        if not node:
            return self._deployment.host
        spec = self._specs.get(node)
        return (spec.address if spec else None) or node

    def named(self, host: str) -> str:
        """Returns the name of the host that has this name or address; `host` itself when no entry has it."""
        return self._by_address.get(host, host)

    def of_role(self, role: Role) -> tuple[str, ...]:
        """Returns the hosts of a role in order; the empty name alone when it names none."""
        spec = self._deployment.settings(role.value)
        if not spec.hosts:
            return ("",)
        # A host that is named again takes a worker again; the nodes of one worker are different ones.
        return expand_hosts(f"{role.value}.hosts", spec.hosts, repeated=spec.nodes == 1)

    def run(self, own: RunSpec | None, node: str) -> RunSpec:
        """Returns how a process on `node` is run: as the host says, else its own part, else the deployment."""
        spec = self.spec(node)
        return (spec.run if spec else None) or own or self._deployment.run

    def one(self, field: str, name: str) -> str:
        """Returns the one host that `name` in `field` stands for."""
        names = expand_hosts(field, [name])
        if len(names) != 1:
            raise ConfigError(field, name, f"stands for {len(names)} hosts", "name one host")
        return names[0]


def expand_hosts(field: str, patterns: Sequence[str], *, repeated: bool = False) -> tuple[str, ...]:
    """Returns the hosts that `patterns` stand for, in order.

    Args:
        field: what an error names.
        patterns: names, or Slurm's short form of several.
        repeated: True lets a pattern come again.

    Raises:
        ConfigError: a range is broken, a host is named twice, or what comes out is no host.
    """
    names = expand_nodes(field, dict.fromkeys(patterns) if repeated else patterns)
    if repeated:
        names = tuple(name for pattern in patterns for name in expand_nodes(field, [pattern]))
    if len(names) > len(patterns) or any("[" in pattern for pattern in patterns):
        for name in names:
            try:
                reachable_host(name)
            except PydanticCustomError as error:
                told = error.context or {}
                raise ConfigError(field, name, str(told.get("problem")), str(told.get("remedy"))) from None
    return names


def is_loopback(address: str) -> bool:
    """Returns True when each host takes this address for itself."""
    if address.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
