"""What a host is and what will go wrong on it: read-only, knows nothing of the rest.

`probe_host(files, environ)` returns a `Host`, `survey_topology(host)` what follows from where its devices sit,
`check_host(host, topology)` what is worth saying about it. Everything that could not be read is a `Reading`
with the reason. Names are imported when they are first used, since the probe's child process needs few of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .checks.registry import check_host
    from .document import probe_document
    from .errors import SourceError
    from .finding import Evidence, Finding, Severity
    from .host import Host, host_of_topology, probe_host, this_host_files
    from .reading import Reading
    from .topology.survey import PathClass, Topology, survey_topology

__all__ = [
    "Evidence",
    "Finding",
    "Host",
    "PathClass",
    "Reading",
    "Severity",
    "SourceError",
    "Topology",
    "check_host",
    "host_of_topology",
    "probe_document",
    "probe_host",
    "survey_topology",
    "this_host_files",
]

_HOMES = {
    "checks.registry": ("check_host",),
    "document": ("probe_document",),
    "errors": ("SourceError",),
    "finding": ("Evidence", "Finding", "Severity"),
    "host": ("Host", "host_of_topology", "probe_host", "this_host_files"),
    "reading": ("Reading",),
    "topology.survey": ("PathClass", "Topology", "survey_topology"),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
