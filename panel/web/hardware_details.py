"""All that is known of each device in the picture, for its detail card: the essential values first, then the rest.

From the probe's document alone. Pure; called by `hardware`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..sizes import sized
from .hardware_tables import best_gid, capacity_of, gpu_name, pcie_link, rate_of
from .hardware_values import NOTHING, Cell, Entry, cell, inner, items, live, pick, rows_of, words

__all__ = ["make_details"]

Row = dict[str, Any]

# What is shown in words of its own.
_TOLD = frozenset({"id", "ports", "processes", "pcie_link", "netdevs", "gids", "signs", "fit", "why_not", "usable"})
_PORT_TOLD = _TOLD | {"port", "active", "state", "physical_state", "rate", "rate_gbps"}
_GPU_FIRST = ("uuid", "pci", "numa_node", "memory_total_bytes", "memory_used_bytes")
_HEALTH_FIRST = ("nvlinks_active", "ecc_uncorrected")
_NIC_FIRST = ("pci", "numa_node", "driver", "firmware")


def make_details(document: Entry) -> dict[str, Any]:
    """Returns {device id: {title, kind, partners, rows, more}}; a row is {label, value}, a value a cell.

    `partners` are the NICs chosen for a GPU, or the GPUs that a NIC is chosen for.
    """
    is_live = inner(document, "host").get("live") is True
    details = {str(gpu.get("id")): _gpu(document, gpu, is_live) for gpu in items(document, "gpus")}
    for netdev in items(inner(document, "host"), "netdevs"):
        details[str(netdev.get("name"))] = _netdev(netdev, is_live)
    # After the interfaces, since an RDMA device may bear the name of one.
    return details | {str(nic.get("name")): _nic(document, nic, is_live) for nic in items(document, "nics")}


def _gpu(document: Entry, gpu: Entry, is_live: bool) -> Row:
    key = str(gpu.get("id"))
    chosen = [str(name) for name in inner(document, "ib_devices").get(key) or ()]
    paths = {path.get("nic"): path for path in items(document, "paths") if path.get("gpu") == key}
    rows = [
        _row("NIC to use", {"code": ",".join(chosen)} if chosen else "none: KV travels over TCP"),
        *(_row(f"Path to {name}", _path(paths.get(name, {}))) for name in chosen),
        *(_traffic("NVLink ", f"nvlink {key}") if is_live else ()),
        *(_traffic("PCIe ", f"pcie {key}") if is_live else ()),
        *pick(gpu, _GPU_FIRST),
        _row("PCIe link", pcie_link(gpu)),
        *pick(inner(gpu, "health"), _HEALTH_FIRST),
        *(_row(f"Process {process.get('pid')}", _process(process)) for process in items(gpu, "processes")),
    ]
    more = [
        *rows_of(gpu, _TOLD.union(_GPU_FIRST, _HEALTH_FIRST)),
        *_mooncake(document, gpu),
        *(_row(f"Path to {name}", _path(path)) for name, path in paths.items() if name not in chosen),
    ]
    return _detail(f"{gpu_name(gpu)}, {gpu.get('name') or gpu.get('vendor')}", "gpu", chosen, rows, more)


def _nic(document: Entry, nic: Entry, is_live: bool) -> Row:
    name = str(nic.get("name"))
    chosen = inner(document, "ib_devices")
    users = [gpu for gpu in items(document, "gpus") if name in (chosen.get(str(gpu.get("id"))) or ())]
    usable = nic.get("usable")
    answer = "not known" if usable is None else words(usable)
    why = str(nic.get("why_not") or "")
    rows = [_row("Usable", f"{answer}: {why}" if why else answer)]
    # What is not usable for a reason is not for KV for the same.
    if signs := [str(sign) for sign in items(nic, "signs") if str(sign) != why]:
        rows.append(_row("Not for KV" if nic.get("fit") is False else "Doubt", "; ".join(signs)))
    rows.append(_row("Used by", ", ".join(map(gpu_name, users)) or "no GPU"))
    more = rows_of(nic, _TOLD.union(_NIC_FIRST, ("name",)))
    ports = items(nic, "ports")
    for port in ports:
        prefix = f"Port {port.get('port')}: " if len(ports) > 1 else ""
        rows += _port(port, prefix)
        if is_live:
            rows += _traffic(prefix, f"{name}:{port.get('port')}", capacity_of(port))
        more += rows_of(port, _PORT_TOLD, prefix)
        more += [_row(f"{prefix}GID {gid.get('index')}", _gid(gid)) for gid in items(port, "gids")]
    rows += [*pick(nic, _NIC_FIRST), _row("PCIe link", pcie_link(nic))]
    return _detail(name, "nic", [str(gpu.get("id")) for gpu in users], rows, more)


def _netdev(netdev: Entry, is_live: bool) -> Row:
    name = str(netdev.get("name"))
    speed = netdev.get("speed_mbps")
    traffic = _traffic("", name, speed * 1e6 / 8 if speed else None) if is_live else []
    return _detail(f"{name}, an interface for TCP", "netdev", [], [*traffic, *rows_of(netdev, ("name",))], [])


def _detail(title: str, kind: str, partners: Sequence[str], rows: Sequence[Row], more: Sequence[Row]) -> Row:
    return {"title": title, "kind": kind, "partners": list(partners), "rows": list(rows), "more": list(more)}


def _row(label: str, value: Cell) -> Row:
    return {"label": label, "value": value}


def _port(port: Entry, prefix: str) -> list[Row]:
    physical = port.get("physical_state")
    gid = best_gid(port)
    state = cell(port, "state", lambda text: f"{text} ({physical})" if physical else text)
    no_gid = {"text": NOTHING, "reason": str(port.get("why_not") or "no GID of it is usable")}
    return [
        _row(f"{prefix}State", state),
        _row(f"{prefix}Rate", rate_of(port)),
        _row(f"{prefix}GID used", _gid(gid) if gid else no_gid),
        _row(f"{prefix}Interface", ", ".join(map(str, items(port, "netdevs"))) or "none here"),
    ]


def _traffic(prefix: str, key: str, capacity: float | None = None) -> list[Row]:
    labels = ["Sent now", "Received now", "At most"]
    if prefix and not prefix.endswith(": "):
        labels = [label.lower() for label in labels]
    rows = [
        _row(f"{prefix}{labels[0]}", live(key, "tx", capacity)),
        _row(f"{prefix}{labels[1]}", live(key, "rx", capacity)),
    ]
    return [*rows, _row(f"{prefix}{labels[2]}", f"{sized(capacity)}/s each way")] if capacity else rows


def _mooncake(document: Entry, gpu: Entry) -> list[Row]:
    index = gpu.get("cuda_index")
    for place, (preferred, others) in inner(document, "mooncake_topology").items():
        if index is not None and not place.startswith("cpu:") and place.endswith(f":{index}"):
            return [
                _row("Mooncake prefers", ", ".join(preferred) or "none"),
                _row("Mooncake's others", ", ".join(others) or "none"),
            ]
    return []


def _process(process: Entry) -> str:
    held = process.get("memory_bytes")
    return f"{process.get('name') or 'name unknown'}, {sized(held) if held is not None else 'memory unknown'}"


def _path(path: Entry) -> str:
    return f"{path.get('class') or 'UNKNOWN'}: {path.get('reason') or 'the probe does not say why'}"


def _gid(gid: Entry) -> str:
    netdev = gid.get("netdev")
    text = f"{gid.get('index')}: {gid.get('address')} ({gid.get('type') or 'type unknown'})"
    text += f" on {netdev}" if netdev else ""
    return f"{text}, not usable: {gid['why_not']}" if gid.get("why_not") else text
