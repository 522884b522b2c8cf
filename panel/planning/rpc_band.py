"""The band of Mooncake's RPC ports on each node. Pure.

Mooncake's ports listen on all addresses whatever it is told, so a firewall has to know them: a few hundred, not the
2001 of Mooncake's own band.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...engine.errors import ConfigError
from ..deployment import Deployment
from ..launch import Role
from .gpu_count import gpus_of_process
from .machines import Machine, Machines
from .node_ports import take_on_all
from .seats import Seating

__all__ = ["FIRST_RPC_PORT", "engines_of", "place_band", "wish_band"]

FIRST_RPC_PORT = 15000  # Mooncake's own MC_MIN_RPC_PORT.
# Each engine opens two: the handshake's and the TCP data port.
_PORTS_PER_ENGINE = 2
# It picks at random and tries again when one is taken, so a band that is mostly free saves it the tries, and leaves
# room for the ports of an engine that was started again while the old ones are not yet gone.
_SLACK = 4
_LEAST = 16
_MOONCAKE = frozenset({"mooncake", "mooncake_tcp"})


def engines_of(deployment: Deployment, seating: Seating, machines: Machines) -> Mapping[int, tuple[Machine, int]]:
    """Returns for each machine (by its id) how many Mooncake engines run on it.

    All have one for each rank of a prefill or decode worker, one more with a Mooncake Store, and the bundled engine
    another one where experts' tokens travel by Mooncake.
    """
    pair = deployment.transport in _MOONCAKE
    if not pair and deployment.engine != "bundled":
        return {}
    counted: dict[int, tuple[Machine, int]] = {}
    for role, workers in seating.items():
        spec = deployment.settings(role.value)
        each = 1 if (pair and role in {Role.PREFILL, Role.DECODE}) or spec.encoder_transfer == "mooncake" else 0
        experts = deployment.engine == "bundled" and spec.moe_a2a == "mooncake"
        each = (each + (deployment.store is not None) + experts) * gpus_of_process(spec)
        for seat in (seat for seats in workers for seat in seats if each):
            machine = machines.of(seat.node)
            counted[id(machine)] = (machine, counted.get(id(machine), (machine, 0))[1] + each)
    return counted


def wish_band(deployment: Deployment, counted: Mapping[int, tuple[Machine, int]]) -> tuple[int, int] | None:
    """Returns the band that the deployment asks for, None when it asks for none, and holds it on each machine.

    Raises:
        ConfigError: the band is empty or too small, or another port lies in it.
    """
    band = deployment.rpc_ports
    if not isinstance(band, tuple) or not counted:
        return None
    low, high = band
    if high < low:
        raise ConfigError("rpc_ports", f"[{low}, {high}]", "ends before it begins", f"write [{high}, {low}]")
    most = max(engines for _, engines in counted.values()) * _PORTS_PER_ENGINE
    if high - low + 1 < most:
        problem = f"has {high - low + 1} ports, and the engines of one host open {most}"
        raise ConfigError("rpc_ports", f"[{low}, {high}]", problem, f"write [{low}, {min(low + most * _SLACK, 65535)}]")
    for machine, _ in counted.values():
        port = machine.ports.first_held(range(low, high + 1))
        if port is not None:
            holder = machine.ports.holder(port) or "another program"
            problem = f"holds port {port}, which {holder} has on {machine.ports.where}"
            raise ConfigError("rpc_ports", f"[{low}, {high}]", problem, "write another band, or leave it out")
        machine.ports.hold(low, range(high - low + 1), "Mooncake's RPC ports")
    return band


def place_band(
    counted: Mapping[int, tuple[Machine, int]], kept: tuple[int, int] | None = None
) -> Mapping[str, tuple[int, int]]:
    """Returns a narrow band for each node, the same on all when nothing prevents it.

    Args:
        counted: the engines of each machine.
        kept: the band of engines that go on; it is taken again as long as half of it is enough.

    Raises:
        CapacityError: there is no such band.
    """
    most = max((engines for _, engines in counted.values()), default=0)
    if kept is not None:
        for machine, _ in counted.values():
            machine.ports.hold(kept[0], range(kept[1] - kept[0] + 1), "Mooncake's RPC ports")
        if 2 * most * _PORTS_PER_ENGINE <= kept[1] - kept[0] + 1:
            return {node: kept for machine, _ in counted.values() for node in machine.nodes}
    size = max(_LEAST, most * _PORTS_PER_ENGINE * _SLACK)
    return _by_node([(machine, _band(machine, size)) for machine, _ in counted.values()])


def _band(machine: Machine, size: int) -> tuple[int, int]:
    first = take_on_all((machine.ports,), FIRST_RPC_PORT, "Mooncake's RPC ports", range(size))
    return first, first + size - 1


def _by_node(bands: Sequence[tuple[Machine, tuple[int, int]]]) -> dict[str, tuple[int, int]]:
    return {node: band for machine, band in bands for node in machine.nodes}
