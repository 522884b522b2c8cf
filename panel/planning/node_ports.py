"""The ports of one node: those given out, those that others hold, and the next free one. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ...engine.errors import CapacityError, ConfigError
from ..ports import choose_port

__all__ = ["NodePorts"]

_BAND = 512


class NodePorts:
    """Gives each process of a node its ports, none twice.

    Args:
        taken: ports that others hold.
        ephemeral: first and last port of outgoing connections.
        where: the node's name, for errors; empty is this host.
    """

    def __init__(self, taken: Iterable[int], ephemeral: tuple[int, int], where: str) -> None:
        self._taken = set(taken)
        self._ephemeral = ephemeral
        self._where = where or "this host"

    def take(self, first: int, purpose: str, reserve: int = 1) -> int:
        """Returns the first free port from `first`, and holds `reserve` ports from it.

        Raises:
            CapacityError: the 512 ports from `first` are taken.
        """
        band = range(first, min(first + _BAND, 65536 - reserve + 1))
        starts = [port for port in band if all(port + i not in self._taken for i in range(reserve))]
        port = choose_port(band, set(band) - set(starts), self._ephemeral) if reserve > 1 else None
        if reserve == 1:
            port = choose_port(band, self._taken, self._ephemeral)
        if port is None:
            last = band.stop - 1
            raise CapacityError(
                f"No port for {purpose} is free on {self._where} between {first} and {last}; "
                "stop a run and try again, or write another port."
            )
        self._taken.update(range(port, port + reserve))
        return port

    def wish(self, port: int, field: str, first: int, reserve: int = 1) -> int:
        """Returns `port`, which the deployment asks for in `field`, and holds it.

        Raises:
            ConfigError: it is taken.
        """
        if any(port + i in self._taken for i in range(reserve)):
            free = choose_port(range(first, min(first + _BAND, 65536)), self._taken, self._ephemeral)
            advice = f"write {free}, which is free, or leave it out" if free else "write another one"
            raise ConfigError(field, port, f"is in use on {self._where}", advice)
        self._taken.update(range(port, port + reserve))
        return port
