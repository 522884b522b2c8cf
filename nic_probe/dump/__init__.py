"""Makes a dump of a host: the kernel files that the probe reads, and the facts that no file holds, as one tar.gz.

Standard library alone, for Python 3.8 and newer: joined to one script, the modules of this folder run where nothing is
installed (`ssh node python3 - < probe.pyz > node.tar.gz`). They know nothing of the rest of the package.
Left out or masked: command lines, credentials in URLs, serial numbers, all of a MAC address but its vendor, peers of
connections, kernel addresses. GIDs, GUIDs, IP addresses and UUIDs of GPUs stay, since routes and affinity hang on
them; a GID or an IPv6 address may hold a MAC address.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .facts import collect_facts
    from .script import main, standalone_source
    from .write import opened_at_once, write_dump

__all__ = ["collect_facts", "main", "opened_at_once", "standalone_source", "write_dump"]

# Imported when they are first used: the live probe needs the facts alone, and needs them soon.
_HOMES = {
    "collect_facts": "facts",
    "main": "script",
    "opened_at_once": "write",
    "standalone_source": "script",
    "write_dump": "write",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
