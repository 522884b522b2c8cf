"""The ports of one machine: those given out, those that others hold, and the next free one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...engine.errors import CapacityError, ConfigError

__all__ = ["NodePorts", "take_on_all", "wish_on_all"]

_BAND = 512
_LAST = 65535
_WIDE = 256  # A range of more ports is kept as such: thousands of machines may each have a wide band.


class NodePorts:
    """The ports of one machine, none given twice.

    Args:
        taken: ports that others hold.
        ephemeral: first and last port of outgoing connections.
        where: the machine's name, for errors; empty is this host.
    """

    def __init__(self, taken: Iterable[int], ephemeral: tuple[int, int], where: str) -> None:
        self._holders: dict[int, str] = dict.fromkeys(taken, "")
        self._bands: list[tuple[range, str]] = []
        self._ephemeral = ephemeral
        self.where = where or "this host"

    def free(self, port: int, offsets: Iterable[int] = (0,)) -> bool:
        """Returns True when all of the ports at `offsets` from `port` exist and are free."""
        if isinstance(offsets, range) and len(offsets) > _WIDE:
            wide = range(port + offsets.start, port + offsets.stop)
            return wide.stop - 1 <= _LAST and self.first_held(wide) is None
        ports = (port + offset for offset in offsets)
        return all(each <= _LAST and each not in self._holders and not self._in_band(each) for each in ports)

    def first_held(self, ports: range) -> int | None:
        """Returns the first of `ports` that is held, None when all are free."""
        held = [port for port in self._holders if port in ports]
        held += [max(band.start, ports.start) for band, _ in self._bands if band.start < ports.stop > ports.start]
        return min((port for port in held if port in ports and self.holder(port) is not None), default=None)

    def holder(self, port: int) -> str | None:
        """Returns what holds `port`: "" for another program, None when it is free."""
        held = self._holders.get(port)
        return held if held is not None else self._in_band(port)

    def _in_band(self, port: int) -> str | None:
        return next((purpose for band, purpose in self._bands if port in band), None)

    def ephemeral(self, port: int, offsets: Iterable[int] = (0,)) -> bool:
        """Returns True when the kernel may give one of the ports to an outgoing connection."""
        low, high = self._ephemeral
        return any(low <= port + offset <= high for offset in offsets)

    def hold(self, port: int, offsets: Iterable[int], purpose: str) -> None:
        """Gives the ports at `offsets` from `port` to `purpose`."""
        if isinstance(offsets, range) and len(offsets) > _WIDE:
            self._bands.append((range(port + offsets.start, port + offsets.stop), purpose))
            return
        for offset in offsets:
            self._holders[port + offset] = purpose

    def take(self, first: int, purpose: str, offsets: Sequence[int] = (0,)) -> int:
        """Returns the first free port from `first`; see `take_on_all`."""
        return take_on_all((self,), first, purpose, offsets)

    def wish(self, port: int, field: str, purpose: str, offsets: Sequence[int] = (0,)) -> int:
        """Returns `port`, which the deployment asks for in `field`; see `wish_on_all`."""
        return wish_on_all((self,), port, field, purpose, offsets)


def take_on_all(machines: Sequence[NodePorts], first: int, purpose: str, offsets: Sequence[int] = (0,)) -> int:
    """Returns the first port from `first` that is free on all `machines`, and holds it there.

    Ports that the kernel gives to outgoing connections come last.

    Args:
        purpose: whose port it is, such as "prefill-0's HTTP server".
        offsets: what is needed beside the port, counted from it; 0 is the port itself.

    Raises:
        CapacityError: the 512 ports from `first` are taken.
    """
    port = _find(machines, first, offsets)
    if port is None:
        last = min(first + _BAND, _LAST + 1) - 1
        where = ", ".join(machine.where for machine in machines[:3])
        raise CapacityError(
            f"No port for {purpose} is free on {where} between {first} and {last}; "
            "stop a run and try again, or write another port."
        )
    for machine in machines:
        machine.hold(port, offsets, purpose)
    return port


def wish_on_all(
    machines: Sequence[NodePorts], port: int, field: str, purpose: str, offsets: Sequence[int] = (0,)
) -> int:
    """Returns `port`, which the deployment asks for in `field`, and holds it on all `machines`.

    Raises:
        ConfigError: it is taken, or one that goes with it is; names a free one nearby.
    """
    for machine in machines:
        for offset in offsets:
            if machine.free(port, (offset,)):
                continue
            problem = _problem(machine, port, offset)
            near = _find(machines, port + 1, offsets)
            advice = f"write {near}, which is free, or leave it out" if near else "write a lower one, or leave it out"
            raise ConfigError(field, port, problem, advice)
        machine.hold(port, offsets, purpose)
    return port


def _problem(machine: NodePorts, port: int, offset: int) -> str:
    if port + offset > _LAST:
        return f"needs port {port + offset} as well, and the last one is {_LAST}"
    holder = machine.holder(port + offset)
    state = f"is taken by {holder} on {machine.where}" if holder else f"is in use on {machine.where}"
    return f"needs port {port + offset} as well, which {state}" if offset else state


def _find(machines: Sequence[NodePorts], first: int, offsets: Sequence[int]) -> int | None:
    inside = None
    for port in range(first, min(first + _BAND, _LAST + 1)):
        if not all(machine.free(port, offsets) for machine in machines):
            continue
        if not any(machine.ephemeral(port, offsets) for machine in machines):
            return port
        inside = port if inside is None else inside
    return inside
