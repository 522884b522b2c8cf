"""The probe's answer as text for a terminal: a few lines of facts, one table each of GPUs and NICs, the notes.

Pure: a document of `nic_probe.document` in, text out. Names may come from a capture, so control characters are
removed. Called by `cli_probe`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .runner.journal import one_line
from .sizes import sized

__all__ = ["probe_text", "table"]

_NOTHING = "-"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yields the lines of a table, each column as wide as its widest text, indented by two."""
    lines = [list(columns), *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        yield ("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))).rstrip()


def probe_text(document: Mapping[str, Any]) -> str:
    """Returns the document for a terminal, ending in a newline."""
    lines = [*_facts(document), "", *_gpus(document), "", *_nics(document)]
    if document["notes"]:
        lines += ["", "Notes", *(f"  {one_line(note)}" for note in document["notes"])]
    return "\n".join(lines) + "\n"


def _sized(count: int | None) -> str:
    return _NOTHING if count is None else sized(count)


def _shown(value: object) -> str:
    return _NOTHING if value is None or value == "" else str(value)


def _facts(document: Mapping[str, Any]) -> Iterator[str]:
    host = document["host"]
    cpu, memory = host["cpu"], host["memory"]
    kind = "this host" if host["live"] else f"not this host: read from {host['source']}"
    nodes = sum(node["cpus"] != "" for node in document["numa_nodes"])  # The others are memory of GPUs.
    facts = (
        ("Host", f"{_shown(host['name'])} ({kind})"),
        ("System", f"{_shown(host['os'])}, Linux {_shown(host['kernel'])}"),
        ("CPU", f"{_shown(cpu['model'])}, {_shown(cpu['cores'])} cores, {nodes} NUMA node{'' if nodes == 1 else 's'}"),
        ("Memory", f"{_sized(memory['total_bytes'])}, {_sized(memory['available_bytes'])} available"),
    )
    for label, value in facts:
        yield f"{label + ':':<8} {one_line(value)}"


def _gpus(document: Mapping[str, Any]) -> Iterator[str]:
    gpus = document["gpus"]
    if not gpus:
        yield "No GPU."
        return
    host = document["host"]
    yield f"GPUs (driver {_shown(host['driver_version'])}, runtime {_shown(host['runtime_version'])})"
    classes = {(path["gpu"], path["nic"]): path["class"] for path in document["paths"]}
    rows = [
        (
            _shown(gpu["visible_index"]),
            gpu["id"],
            _shown(gpu["name"] or gpu["vendor"]),
            f"{_sized(gpu['memory_used_bytes'])} / {_sized(gpu['memory_total_bytes'])}",
            _shown(gpu["numa_node"]),
            _by_class(document["ib_devices"].get(gpu["id"], []), gpu["id"], classes),
        )
        for gpu in gpus
    ]
    yield from table(("cuda", "PCI address", "GPU", "memory used", "NUMA", "NICs to use"), rows)


def _by_class(nics: Sequence[str], gpu: str, classes: Mapping[tuple[str, str], str]) -> str:
    if not nics:
        return _NOTHING
    levels = sorted({classes.get((gpu, nic), "UNKNOWN") for nic in nics})
    return f"{','.join(nics)} ({'/'.join(levels)})"


def _nics(document: Mapping[str, Any]) -> Iterator[str]:
    nics = document["nics"]
    if not nics:
        yield "No RDMA NIC: KV travels over TCP."
        return
    yield "RDMA NICs"
    rows = [
        (
            f"{nic['name']}:{port['port']}",
            _shown(nic["pci"]),
            _shown(nic["driver"]),
            _shown(port["state"]),
            f"{port['rate_gbps']:g} Gb/s" if port["rate_gbps"] is not None else _NOTHING,
            _shown(port["link_layer"]),
            _best_gid(port["gids"]),
            _shown(nic["numa_node"]),
            _verdict(nic, port),
        )
        for nic in nics
        for port in nic["ports"] or [_NO_PORT]
    ]
    yield from table(("port", "PCI address", "driver", "state", "rate", "link", "GID", "NUMA", "use"), rows)


_NO_PORT: Mapping[str, Any] = {
    "port": _NOTHING,
    "state": None,
    "rate_gbps": None,
    "link_layer": None,
    "gids": [],
    "usable": None,
    "why_not": "",
}


def _best_gid(gids: Sequence[Mapping[str, Any]]) -> str:
    ranked = [gid for gid in gids if gid["rank"] is not None]
    if not ranked:
        return _NOTHING
    best = min(ranked, key=lambda gid: (gid["rank"], gid["index"]))
    return f"{best['index']}: {best['address']}"


def _verdict(nic: Mapping[str, Any], port: Mapping[str, Any]) -> str:
    if port["usable"] is False:
        return f"no: {port['why_not'] or nic['why_not']}"
    if nic["usable"] is False:
        return f"no: {nic['why_not']}"
    if nic["fit"] is False:
        return f"not for KV: {'; '.join(nic['signs'])}"
    if nic["usable"] is None:
        return f"unknown: {nic['why_not']}"
    return f"yes, but {'; '.join(nic['signs'])}" if nic["signs"] else "yes"
