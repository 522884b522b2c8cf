"""The tables of the Hardware tab: GPUs, RDMA ports, interfaces, NUMA nodes, paths, and the NICs to use.

From the probe's document alone; what a host lacks is an empty table with one sentence. Pure; called by
`hardware`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..sizes import sized
from .hardware_values import NOTHING, Cell, Entry, cell, inner, items, live, words

__all__ = ["best_gid", "capacity_of", "gpu_name", "make_tables", "pcie_link", "rate_of"]

_MOST_INTERFACES = 64
_TIMES = "\N{MULTIPLICATION SIGN}"


def make_tables(document: Entry) -> list[dict[str, Any]]:
    """Returns the tables as {title, columns, rows of cells, empty, rest}.

    `empty` is said where there are no rows, and `rest`, where there is one, below them.
    """
    is_live = inner(document, "host").get("live") is True
    return [
        _chosen(document),
        _numa(document),
        _gpus(document, is_live),
        _ports(document, is_live),
        _interfaces(document, is_live),
        _paths(document),
    ]


def gpu_name(gpu: Entry) -> str:
    """Returns the short name of a GPU: its CUDA number where it has one."""
    for key, what in (("cuda_index", "GPU"), ("nvml_index", "NVML")):
        if gpu.get(key) is not None:
            return f"{what} {gpu[key]}"
    return str(gpu.get("id"))


def best_gid(port: Entry) -> Entry | None:
    """Returns the GID that Mooncake would take, or None without one."""
    ranked = [gid for gid in items(port, "gids") if gid.get("rank") is not None and not gid.get("why_not")]
    return min(ranked, key=lambda gid: (gid["rank"], gid.get("index", 0)), default=None)


def capacity_of(port: Entry) -> float | None:
    """Returns what a port carries at most in one direction, in bytes per second; None while it is down."""
    rate = port.get("rate_gbps")
    return rate * 1e9 / 8 if rate and port.get("state") in (None, "ACTIVE") else None


def rate_of(port: Entry) -> Cell:
    """Returns what a port runs at; the driver of one that is down shows a placeholder."""
    if port.get("state") in (None, "ACTIVE"):
        return cell(port, "rate")
    return {"text": NOTHING, "reason": f"the port is {port['state']}; its driver says {port.get('rate') or 'nothing'}"}


def pcie_link(entry: Entry) -> Cell:
    """Returns a device's PCI Express link now, and at most where that is more."""
    link = inner(entry, "pcie_link")
    now, most = (f"{link.get(f'{kind}speed_gts')}{link.get(f'{kind}width')}" for kind in ("", "max_"))
    if link.get("speed_gts") is None or link.get("width") is None:
        return cell(link, "speed_gts")
    shown = f"{link['speed_gts']:g} GT/s {_TIMES}{link['width']}"
    if now != most and link.get("max_speed_gts") is not None and link.get("max_width") is not None:
        shown += f" of {link['max_speed_gts']:g} GT/s {_TIMES}{link['max_width']}"
    return shown


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], empty: str) -> dict[str, Any]:
    return {"title": title, "columns": list(columns), "rows": [list(row) for row in rows], "empty": empty}


def _chosen(document: Entry) -> dict[str, Any]:
    names = {gpu["id"]: gpu for gpu in items(document, "gpus")}
    level = {(path.get("gpu"), path.get("nic")): path.get("class") for path in items(document, "paths")}
    chosen = inner(document, "ib_devices")
    rows: list[list[Cell]] = [
        [
            gpu_name(gpu),
            str(key),
            {"code": ",".join(chosen[key])} if chosen.get(key) else "none: KV travels over TCP",
            ", ".join(dict.fromkeys(str(level.get((key, nic), "UNKNOWN")) for nic in chosen.get(key) or ())) or NOTHING,
        ]
        for key, gpu in names.items()
    ]
    columns = ("GPU", "PCI", "--disaggregation-ib-device", "Path")
    table = _table("NIC to use for each GPU", columns, rows, "Without a GPU there is nothing to choose.")
    value, mooncake = document.get("sglang_ib_device"), inner(document, "mooncake_topology")
    copies = [{"label": "Copy for all GPUs", "text": str(value)}] if value else []
    if mooncake:
        copies.append({"label": "Copy Mooncake topology", "text": json.dumps(mooncake, indent=2)})
    return {**table, "copies": copies}


def _gpus(document: Entry, is_live: bool) -> dict[str, Any]:
    columns = ["GPU", "NVML / visible", "Name", "PCI", "NUMA", "Memory", "In use", "PCIe link", "NVLinks", "ECC errors"]
    columns += ["Temperature", "Power", "Processes"]
    columns += ["NVLink sent", "NVLink received"] if is_live else []
    rows: list[list[Cell]] = []
    for gpu in items(document, "gpus"):
        health = inner(gpu, "health")
        row: list[Cell] = [
            gpu_name(gpu),
            f"{_plain(gpu, 'nvml_index')} / {_plain(gpu, 'visible_index')}",
            cell(gpu, "name"),
            str(gpu.get("pci") or gpu.get("id")),
            cell(gpu, "numa_node"),
            cell(gpu, "memory_total_bytes"),
            cell(gpu, "memory_used_bytes"),
            pcie_link(gpu),
            cell(health, "nvlinks_active", lambda up, one=health: _links(up, one)),
            cell(health, "ecc_uncorrected"),
            cell(health, "temperature_c"),
            cell(health, "power_w"),
            cell(gpu, "processes", lambda found: str(len(found))),
        ]
        key = f"nvlink {gpu.get('id')}"
        rows.append(row + ([live(key, "tx"), live(key, "rx")] if is_live else []))
    return _table("GPUs", columns, rows, "No GPU: the bundled engine computes on the CPU.")


def _ports(document: Entry, is_live: bool) -> dict[str, Any]:
    columns = ["Port", "State", "Usable", "Rate", "Link layer", "MTU", "GID used", "Interface", "NUMA", "PCI", "Driver"]
    columns += ["Firmware", *(["Sent now", "Received now"] if is_live else [])]
    rows: list[list[Cell]] = []
    for nic in items(document, "nics"):
        for port in items(nic, "ports") or ({},):
            key = f"{nic.get('name')}:{port['port']}" if "port" in port else str(nic.get("name"))
            gid = best_gid(port)
            row: list[Cell] = [
                key,
                _state(port),
                _usable(nic, port),
                rate_of(port),
                cell(port, "link_layer"),
                cell(port, "mtu"),
                f"{gid.get('index')}: {gid.get('address')} ({_plain(gid, 'type')})" if gid else _no_gid(port),
                ", ".join(items(port, "netdevs")) or NOTHING,
                cell(nic, "numa_node"),
                cell(nic, "pci"),
                cell(nic, "driver"),
                cell(nic, "firmware"),
            ]
            capacity = capacity_of(port)
            rows.append(row + ([live(key, "tx", capacity), live(key, "rx", capacity)] if is_live else []))
    known = "nics" not in inner(document, "unreadable")
    empty = "No RDMA device: KV travels over TCP on this host." if known else "The RDMA devices are not known."
    return _table("RDMA ports", columns, rows, empty)


def _interfaces(document: Entry, is_live: bool) -> dict[str, Any]:
    columns = ["Interface", "State", "Speed", "MTU", "Addresses", "Driver", "PCI", "NUMA"]
    columns += ["Sent now", "Received now"] if is_live else []
    rows: list[list[Cell]] = []
    found = items(inner(document, "host"), "netdevs")
    # A host of containers has hundreds of interfaces for them, which say nothing.
    shown = sorted(found, key=lambda one: not (one.get("pci") or one.get("addresses")))[:_MOST_INTERFACES]
    for netdev in shown:
        speed = netdev.get("speed_mbps")
        capacity = speed * 1e6 / 8 if speed else None
        row: list[Cell] = [
            str(netdev.get("name")),
            _interface_state(netdev),
            cell(netdev, "speed_mbps"),
            cell(netdev, "mtu"),
            cell(netdev, "addresses"),
            cell(netdev, "driver"),
            cell(netdev, "pci"),
            cell(netdev, "numa_node"),
        ]
        name = str(netdev.get("name"))
        rows.append(row + ([live(name, "tx", capacity), live(name, "rx", capacity)] if is_live else []))
    table = _table("Network interfaces", columns, rows, "This host shows no network interface.")
    left_out = len(found) - len(shown)
    return {**table, "rest": f"And {left_out} more interfaces, most of them of containers." if left_out else ""}


def _numa(document: Entry) -> dict[str, Any]:
    rows: list[list[Cell]] = []
    for node in items(document, "numa_nodes"):
        inside = [
            ", ".join(name(one) for one in items(document, kind) if one.get("numa_node") == node.get("id")) or "none"
            for kind, name in (("gpus", gpu_name), ("nics", lambda nic: str(nic.get("name"))))
        ]
        cpus = cell(node, "cpus", lambda text: text or "none")
        rows.append([f"node{node.get('id')}", cpus, cell(node, "memory_bytes", sized), *inside])
    columns = ("Node", "CPUs", "Memory", "GPUs", "RDMA NICs")
    return _table("NUMA nodes", columns, rows, "The kernel names no NUMA node.")


def _paths(document: Entry) -> dict[str, Any]:
    gpus, nics = items(document, "gpus"), [str(nic.get("name")) for nic in items(document, "nics")]
    found = {(path.get("gpu"), path.get("nic")): path for path in items(document, "paths")}
    chosen = inner(document, "ib_devices")
    rows: list[list[Cell]] = []
    for gpu in gpus if nics else ():
        row: list[Cell] = [gpu_name(gpu)]
        for nic in nics:
            path = found.get((gpu.get("id"), nic), {})
            level = str(path.get("class") or "UNKNOWN")
            why = f"{path.get('reason') or 'not known'} (from {path.get('source') or 'nothing'})"
            row.append({"text": level, "hint": why, "strong": nic in (chosen.get(gpu.get("id")) or ())})
        rows.append(row)
    return _table("Paths from GPU to NIC", ("GPU", *nics), rows, "No pair of a GPU and an RDMA NIC.")


def _plain(entry: Entry, key: str) -> str:
    value = entry.get(key)
    return NOTHING if value is None else words(value, key)


def _links(up: int, health: Entry) -> str:
    down = health.get("nvlinks_inactive")
    return f"{up} up, {down} down" if down else str(up)


def _state(port: Entry) -> Cell:
    state = port.get("state")
    if state is None:
        return cell(port, "state")
    physical = port.get("physical_state")
    text = str(state) if state == "ACTIVE" or not physical else f"{state} ({physical})"
    return {"text": text, "sign": "good" if state == "ACTIVE" else "bad"}


def _interface_state(netdev: Entry) -> Cell:
    """Returns the state as the picture tells it; the kernel does not know that of a loopback."""
    state = "up" if netdev.get("loopback") else netdev.get("operstate")
    if state is None:
        return cell(netdev, "operstate")
    broken = state not in ("up", "unknown") and netdev.get("pci")
    sign = "good" if state == "up" else "bad" if broken else "unknown" if state == "unknown" else "off"
    return {"text": str(state), "sign": sign}


def _usable(nic: Entry, port: Entry) -> Cell:
    usable = port.get("usable")
    why = str(port.get("why_not") or nic.get("why_not") or "")
    if nic.get("fit") is False and usable is not False:
        return {"text": f"not for KV: {'; '.join(items(nic, 'signs')) or 'see the notes'}", "sign": "off"}
    if usable is None:
        return {"text": f"unknown: {why or 'the probe does not say'}", "sign": "unknown"}
    doubt = "; ".join(items(nic, "signs"))
    if usable:
        return {"text": f"yes, but: {doubt}" if doubt else "yes", "sign": "warn" if doubt else "good"}
    return {"text": f"no: {why}" if why else "no", "sign": "bad"}


def _no_gid(port: Entry) -> Cell:
    if port.get("link_layer") == "InfiniBand" and items(port, "gids"):
        return f"{len(items(port, 'gids'))} on InfiniBand"
    return {"text": NOTHING, "reason": str(port.get("why_not") or "no GID of it is usable")}
