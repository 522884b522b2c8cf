"""How many wrong passwords are taken: per address and per user, in bounded memory.

Pure but for the table that it keeps; the caller says what time it is. Successful logins clear their address.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

__all__ = ["Attempts", "address_key"]


def address_key(address: str) -> str:
    """Returns whom an address counts as: itself, or its /64 in IPv6, of which one host owns all."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))


class Attempts:
    """Failed attempts by key, each forgotten a while after its last failure.

    Args:
        free: failures that cost nothing.
        first_wait_s: how long a key is shut out after the next one; doubles with each further one.
        longest_wait_s: the most that it grows to, and how long a quiet key is remembered.
        most: keys that are remembered; the longest unseen goes first.
    """

    def __init__(
        self, free: int = 5, first_wait_s: float = 2.0, longest_wait_s: float = 900.0, most: int = 4096
    ) -> None:
        self._free, self._first, self._longest, self._most = free, first_wait_s, longest_wait_s, most
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failures)

    def wait_s(self, key: str, now: float) -> float:
        """Returns how long `key` must wait before it may try; 0 when it may now."""
        count, last = self._failures.get(key, (0, now))
        if count <= self._free:
            return 0.0
        wait = min(self._longest, self._first * 2.0 ** min(count - self._free - 1, 32))
        return max(0.0, last + wait - now)

    def failed(self, key: str, now: float) -> None:
        """Counts one failure of `key`."""
        count, last = self._failures.pop(key, (0, now))
        self._failures[key] = (1 if now - last > self._longest else count + 1, now)
        while len(self._failures) > self._most:
            self._failures.popitem(last=False)

    def succeeded(self, key: str) -> None:
        """Forgets the failures of `key`."""
        self._failures.pop(key, None)
