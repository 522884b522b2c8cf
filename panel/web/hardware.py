"""The Hardware tab's content from a probed host: facts, notes and tables, all plain text.

Shapes nic_probe's values for display and measures nothing itself. What a host lacks becomes an empty table
with one sentence, never an error; what could not be read shows its reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...nic_probe import Finding, Host, Reading, check_host, probe_host

__all__ = ["describe", "describe_this_host"]

_NOTHING = "\u2013"
_UNITS = ("B", "kB", "MB", "GB", "TB")


def _size(value: int) -> str:
    number = float(value)
    for unit in _UNITS[:-1]:
        if number < 1000:
            return f"{number:.4g} {unit}"
        number /= 1000
    return f"{number:.4g} {_UNITS[-1]}"


def _text(reading: Reading[Any]) -> str:
    return str(reading.value) if reading.known else _NOTHING


def _sized(reading: Reading[int]) -> str:
    return _size(reading.value) if reading.value is not None else f"unknown: {reading.reason}"


def _fact(label: str, value: str) -> dict[str, str]:
    return {"label": label, "value": value}


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> dict[str, object]:
    return {"title": title, "columns": list(columns), "rows": [list(row) for row in rows], "empty": empty}


def _note(finding: Finding) -> dict[str, str]:
    text = " ".join(part for part in (finding.reason, finding.remedy) if part)
    return {"id": finding.id, "severity": str(finding.severity), "title": finding.subject, "text": text}


def _facts(host: Host) -> list[dict[str, str]]:
    cpu, memory = host.cpu, host.memory
    counts = f"{_text(cpu.sockets)} / {_text(cpu.cores)} / {_text(cpu.threads)}"
    facts = [
        _fact("Host", _text(host.name)),
        _fact("System", f"{_text(host.os)}, Linux {_text(host.kernel)}"),
        _fact("Processor", _text(cpu.model) if cpu.model.known else f"unknown: {cpu.model.reason}"),
        _fact("Sockets / cores / threads", counts),
        _fact("Instruction sets", ", ".join(cpu.instruction_sets) or "none of note"),
        _fact("Memory", f"{_sized(memory.total_bytes)}, {_sized(memory.available_bytes)} available"),
    ]
    if memory.huge_pages_total.otherwise(0):
        pages = f"{_text(memory.huge_pages_free)} of {_text(memory.huge_pages_total)} free"
        facts.append(_fact("Huge pages", f"{pages}, {_sized(memory.huge_page_bytes)} each"))
    return facts


def _interfaces(host: Host) -> dict[str, object]:
    rows = [
        (
            device.name,
            _text(device.operstate),
            f"{device.speed_mbps.value / 1000:g} Gb/s" if device.speed_mbps.value is not None else _NOTHING,
            _text(device.mtu),
            ", ".join(device.addresses.otherwise(())) or _NOTHING,
            _text(device.numa_node),
        )
        for device in host.netdevs
    ]
    columns = ("Interface", "State", "Speed", "MTU", "Addresses", "NUMA")
    return _table("Network interfaces", columns, rows, "This host shows no network interface.")


def _rdma(host: Host) -> dict[str, object]:
    rows = [
        (
            f"{device.name}:{port.number}",
            _text(port.state),
            _text(port.rate),
            _text(port.link_layer),
            ", ".join(device.netdevs.otherwise(())) or _NOTHING,
            _text(device.numa_node),
        )
        for device in host.rdma.otherwise(())
        for port in device.ports
    ]
    empty = "No RDMA device: KV travels over TCP on this host."
    if not host.rdma.known:
        empty = f"The RDMA devices are not known: {host.rdma.reason}."
    return _table("RDMA devices", ("Port", "State", "Rate", "Link layer", "Interface", "NUMA"), rows, empty)


def _gpus(host: Host) -> dict[str, object]:
    rows = [
        (
            _text(gpu.name) if gpu.name.known else gpu.vendor,
            gpu.pci,
            _sized(gpu.memory_total_bytes) if gpu.memory_total_bytes.known else _NOTHING,
            _sized(gpu.memory_used_bytes) if gpu.memory_used_bytes.known else _NOTHING,
            _text(gpu.compute_capability),
            _text(gpu.numa_node),
        )
        for gpu in host.gpus.devices
    ]
    empty = " ".join(("No GPU: the bundled engine computes on the CPU.", *host.gpus.notes))
    return _table("GPUs", ("GPU", "PCI", "Memory", "In use", "Compute", "NUMA"), rows, empty)


def _numa(host: Host) -> dict[str, object]:
    rows = [
        (f"node{node.id}", node.cpus.otherwise(_NOTHING) or "none", _sized(node.memory_bytes))
        for node in host.cpu.numa_nodes
    ]
    return _table("NUMA nodes", ("Node", "CPUs", "Memory"), rows, "The kernel names no NUMA node.")


def describe(host: Host, findings: Sequence[Finding]) -> Mapping[str, object]:
    """Returns what the tab shows, under "facts", "notes" and "tables".

    A fact is {label, value}, a note {id, severity, title, text}, a table {title, columns, rows of text,
    empty}, where `empty` is what to say when it has no rows.
    """
    return {
        "facts": _facts(host),
        "notes": [_note(finding) for finding in findings],
        "tables": [_interfaces(host), _rdma(host), _gpus(host), _numa(host)],
    }


def describe_this_host() -> Mapping[str, object]:
    """Probes this host and returns what `describe` makes of it; blocks while it reads."""
    host = probe_host()
    return describe(host, check_host(host))
