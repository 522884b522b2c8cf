"""What the kernel allows this process, and with it the workers that inherit from it.

Limits come from the facts or from `/proc/self/limits`, the rest from `/proc/self`. Called by `host_state`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..reading import Reading
from ..sources.files import HostFiles
from .facts import Facts, as_int

__all__ = ["Limit", "Limits", "probe_limits", "small_set"]

# Bits of linux/capability.h, those that decide about pinned memory, limits and devices.
_CAPABILITIES = {12: "NET_ADMIN", 14: "IPC_LOCK", 19: "SYS_PTRACE", 21: "SYS_ADMIN", 23: "SYS_NICE", 24: "SYS_RESOURCE"}
_ROWS = {
    "memlock": "Max locked memory",
    "nofile": "Max open files",
    "stack": "Max stack size",
    "core": "Max core file size",
    "nproc": "Max processes",
}
# More CPUs than any kernel is built for; a longer list is not one.
_MAX_MEMBERS = 1 << 16


@dataclass(frozen=True, slots=True)
class Limit:
    """One resource limit, in bytes or in pieces.

    Attributes:
        soft: what holds now; None for unlimited.
        hard: what a process without privileges may raise it to; None for unlimited.
    """

    soft: int | None
    hard: int | None

    def covers(self, amount: int) -> bool:
        """True when the soft limit lets `amount` through."""
        return self.soft is None or self.soft >= amount

    def could_cover(self, amount: int) -> bool:
        """True when the process may raise its limit to `amount` by itself."""
        return self.hard is None or self.hard >= amount


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits and rights of this process.

    Attributes:
        memlock: bytes that it may pin.
        processes: of its user.
        capabilities: effective ones by name without `CAP_`, of those that matter here.
        user_namespace: True when its rights count only inside a user namespace, as in a rootless container.
        cpus_allowed: CPUs that it may run on.
        mems_allowed: NUMA nodes that it may have memory from.
    """

    memlock: Reading[Limit]
    nofile: Reading[Limit]
    stack: Reading[Limit]
    core: Reading[Limit]
    processes: Reading[Limit]
    capabilities: Reading[frozenset[str]]
    user_namespace: Reading[bool]
    cpus_allowed: Reading[frozenset[int]]
    mems_allowed: Reading[frozenset[int]]

    def may(self, capability: str) -> bool:
        """True when the process is known to have the capability for the whole host."""
        return capability in self.capabilities.otherwise(frozenset()) and not self.user_namespace.otherwise(False)


def probe_limits(files: HostFiles, facts: Facts) -> Limits:
    """Returns the limits of this process, or of the one that made the capture."""
    table = files.text("proc/self/limits")
    status = files.text("proc/self/status")

    def limit(key: str) -> Reading[Limit]:
        said = facts.table("rlimits", _pair, "a table of limits").convert(lambda found: found.get(key), "a limit")
        return said if said.known or not table.known else _row(table, _ROWS[key])

    def field(name: str) -> Reading[str]:
        return status.convert(lambda text: _field(text, name), f"a status with {name}")

    return Limits(
        memlock=limit("memlock"),
        nofile=limit("nofile"),
        stack=limit("stack"),
        core=limit("core"),
        processes=limit("nproc"),
        capabilities=field("CapEff").convert(_capabilities, "a set of capabilities"),
        user_namespace=files.text("proc/self/uid_map").convert(_is_inner, "a map of users"),
        cpus_allowed=field("Cpus_allowed_list").convert(small_set, "a list of CPUs"),
        mems_allowed=field("Mems_allowed_list").convert(small_set, "a list of NUMA nodes"),
    )


def small_set(text: str) -> frozenset[int] | None:
    """Returns a list of the kernel's, such as `0-7,16`, as the numbers in it; None for anything else."""
    members: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            return None
        low, high = int(first[:9]), int((last or first)[:9])
        if high - low >= _MAX_MEMBERS:
            return None
        members.update(range(low, high + 1))
    return frozenset(members)


def _pair(value: object) -> Limit | None:
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    numbers = [as_int(number) for number in value]
    if None in numbers:
        return None
    soft, hard = (None if number is None or number < 0 else number for number in numbers)
    return Limit(soft, hard)


def _row(table: Reading[str], name: str) -> Reading[Limit]:
    def find(text: str) -> Limit | None:
        for line in text.splitlines():
            if line.startswith(name):
                words = line[len(name) :].split()
                if len(words) >= 2 and all(word == "unlimited" or word.isdecimal() for word in words[:2]):
                    soft, hard = (None if word == "unlimited" else int(word) for word in words[:2])
                    return Limit(soft, hard)
        return None

    return table.convert(find, f"a table with {name!r}")


def _field(status: str, name: str) -> str | None:
    for line in status.splitlines():
        key, colon, value = line.partition(":")
        if colon and key == name:
            return value.strip()
    return None


def _capabilities(text: str) -> frozenset[str]:
    bits = int(text, 16)
    return frozenset(name for bit, name in _CAPABILITIES.items() if bits >> bit & 1)


def _is_inner(uid_map: str) -> bool | None:
    """A map of all users to themselves is the initial namespace's: `0 0 4294967295`."""
    rows = [line.split() for line in uid_map.splitlines()]
    if not rows or any(len(row) != 3 for row in rows):
        return None
    return rows != [["0", "0", "4294967295"]]
