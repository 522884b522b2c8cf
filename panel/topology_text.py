"""How GPUs reach NICs, as text for a terminal: the matrix, what Mooncake will choose, what to tell SGLang.

Pure: a document of `nic_probe.document` in, text out. Called by `cli_probe`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from .probe_text import table
from .runner.journal import one_line

__all__ = ["topology_text"]

_CLASSES = (
    ("PIX", "below one PCI switch"),
    ("PXB", "across several PCI switches"),
    ("PHB", "through one host bridge"),
    ("NODE", "within one NUMA node"),
    ("SYS", "from one NUMA node to another"),
)


def topology_text(document: Mapping[str, Any]) -> str:
    """Returns the topology for a terminal, ending in a newline."""
    lines = [*_matrix(document)]
    if document["mooncake_topology"]:
        lines += ["", "What Mooncake will choose (preferred | others)", *_mooncake(document)]
    if document["sglang_ib_device"]:
        lines += ["", f"SGLang: --disaggregation-ib-device {shlex.quote(one_line(document['sglang_ib_device']))}"]
    if document["notes"]:
        lines += ["", "Notes", *(f"  {one_line(note)}" for note in document["notes"])]
    return "\n".join(lines) + "\n"


def _matrix(document: Mapping[str, Any]) -> Iterator[str]:
    nics = [nic["name"] for nic in document["nics"]]
    gpus = document["gpus"]
    if not gpus or not nics:
        yield "No GPU." if not gpus else f"{len(gpus)} GPUs."
        yield "No RDMA NIC." if not nics else f"RDMA NICs: {', '.join(one_line(name) for name in nics)}."
        return
    classes = {(path["gpu"], path["nic"]): path["class"] for path in document["paths"]}
    rows = [(gpu["id"], *(classes.get((gpu["id"], nic), "-") for nic in nics)) for gpu in gpus]
    yield from table(("GPU", *(one_line(name) for name in nics)), rows)
    seen = set(classes.values())
    sources = ", ".join(sorted({path["source"] for path in document["paths"]}))
    yield f"  from {sources}: " + ", ".join(f"{name} {meaning}" for name, meaning in _CLASSES if name in seen)


def _mooncake(document: Mapping[str, Any]) -> Iterator[str]:
    for place, (preferred, others) in document["mooncake_topology"].items():
        yield "  " + one_line(f"{place}: {','.join(preferred) or '-'} | {','.join(others) or '-'}")
