"""The devices of a probed host as its picture shows them: what each says, how it is, and what is chosen for it.

Reads the probe's JSON document, in which every key may be missing. Pure; knows no coordinates. Called by
`host_picture`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..nic_probe.finding import Finding, Severity
from .host_shapes import State

__all__ = ["Device", "Pair", "Port", "Switch", "gpu_order", "read_devices", "read_pairs", "read_switches"]

_MOST_PORTS = 4


@dataclass(frozen=True, slots=True)
class Port:
    """One port of a NIC, or an interface's only one.

    Attributes:
        key: the name of its traffic.
        capacity_bytes_per_s: of one direction.
    """

    key: str
    name: str
    state: State
    word: str
    text: str
    capacity_bytes_per_s: float | None


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, a NIC or an interface.

    Attributes:
        kind: gpu, nic or netdev.
        numa: its node; None when the platform does not say.
        word: its state in one or two words; empty for a GPU of which there is nothing to say.
        text: what stands below the title.
        aside: a short text at the right of the address.
        note: one more line, on what no line of the picture shows.
        reason: why it is not usable; empty when it is.
    """

    id: str
    kind: str
    numa: int | None
    title: str
    state: State
    word: str
    text: str
    address: str
    aside: str = ""
    note: str = ""
    reason: str = ""
    ports: tuple[Port, ...] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """A NIC that is chosen for a GPU; `level` is the class of the path between them."""

    gpu: str
    nic: str
    level: str


@dataclass(frozen=True, slots=True)
class Switch:
    """A PCI switch by its uplink's address, with the ids of the devices below it."""

    pci: str
    devices: frozenset[str]


def read_devices(document: Mapping[str, Any], findings: Sequence[Finding]) -> tuple[Device, ...]:
    """Returns GPUs in CUDA's order, NICs by name, and then the other interfaces, those with addresses first."""
    nics = [nic for nic in _list(document, "nics") if nic.get("name")]
    covered = {name for nic in nics for name in _netdevs(nic)}
    netdevs = [one for one in _list(_dict(document, "host"), "netdevs") if _is_shown(one, bool(nics))]
    netdevs = [one for one in netdevs if one.get("name") and one["name"] not in covered]
    netdevs.sort(key=lambda one: (not one.get("addresses"), _natural(str(one["name"]))))
    gpus = sorted(_list(document, "gpus"), key=gpu_order)
    return (
        *(_gpu(gpu, findings) for gpu in gpus if gpu.get("id")),
        *(_nic(nic, findings) for nic in sorted(nics, key=lambda one: _natural(str(one["name"])))),
        *(_netdev(one) for one in netdevs),
    )


def read_pairs(document: Mapping[str, Any], devices: Iterable[Device]) -> tuple[Pair, ...]:
    """Returns the pairs to draw: each GPU with the NICs to name for it."""
    known = {device.id for device in devices}
    levels = {(path.get("gpu"), path.get("nic")): str(path.get("class")) for path in _list(document, "paths")}
    return tuple(
        Pair(str(gpu), str(nic), levels.get((gpu, nic), "UNKNOWN"))
        for gpu, names in _dict(document, "ib_devices").items()
        for nic in names or ()
        if gpu in known and nic in known
    )


def read_switches(document: Mapping[str, Any]) -> tuple[Switch, ...]:
    """Returns the switches with each device below its innermost one."""
    found = [
        Switch(str(entry.get("pci") or "?"), frozenset(map(str, (*_list(entry, "gpus"), *_list(entry, "nics")))))
        for entry in _list(document, "switches")
    ]
    taken: set[str] = set()
    answer: dict[str, Switch] = {}
    for switch in sorted(found, key=lambda one: (len(one.devices), one.pci)):
        own = switch.devices - taken
        taken |= own
        if own:
            answer[switch.pci] = Switch(switch.pci, own)
    return tuple(answer[pci] for pci in sorted(answer))


def _gpu(gpu: Mapping[str, Any], findings: Sequence[Finding]) -> Device:
    index = gpu.get("cuda_index")
    title = f"GPU {index}" if index is not None else "GPU"
    if index is None and gpu.get("nvml_index") is not None:
        title = f"GPU {gpu['nvml_index']} (NVML)"
    state, word = _told(findings, str(gpu["id"]))
    links = _dict(gpu, "health").get("nvlinks_active")
    return Device(
        id=str(gpu["id"]),
        kind="gpu",
        numa=_number(gpu.get("numa_node")),
        title=title,
        state=state,
        word=word,
        text=_short_name(gpu),
        address=str(gpu.get("pci") or gpu["id"]),
        # As nvidia-smi topo writes it: a bonded set of that many NVLinks.
        aside=f"NV{links}" if links else "",
    )


def _short_name(gpu: Mapping[str, Any]) -> str:
    vendor = str(gpu.get("vendor") or "")
    return str(gpu.get("name") or vendor or "name unknown").removeprefix(f"{vendor} ")


def _nic(nic: Mapping[str, Any], findings: Sequence[Finding]) -> Device:
    name = str(nic["name"])
    found = _list(nic, "ports")
    ports = tuple(_port(name, port, bool(nic.get("physical_function"))) for port in found[:_MOST_PORTS])
    reason = str(nic.get("why_not") or "")
    states = {str(port.get("state")) for port in found if port.get("state")}
    if states and "ACTIVE" not in states:
        state, word = State.BAD, "/".join(sorted(states)).lower()
    elif nic.get("usable") is False:
        state, word = State.BAD, "not usable"
    elif nic.get("fit") is False:
        state, word = State.OFF, "not for KV"
        reason = reason or "; ".join(map(str, _list(nic, "signs")))
    elif nic.get("usable") is True:
        state, word = State.GOOD, "usable"
    else:
        state, word = State.UNKNOWN, "unknown"
    if state is State.GOOD:
        told, said = _told(findings, name)
        if told is not State.PLAIN:
            state, word = told, said
    nothing = "ports not known" if nic.get("usable") is None else "shows no port"
    text = ports[0].text if len(ports) == 1 else f"{len(found)} ports" if found else nothing
    return Device(
        id=name,
        kind="nic",
        numa=_number(nic.get("numa_node")),
        title=name,
        state=state,
        word=word,
        text=text,
        address=str(nic.get("pci") or nic.get("driver") or "no PCI address"),
        reason=reason,
        ports=ports,
    )


def _port(nic: str, port: Mapping[str, Any], is_virtual: bool) -> Port:
    number = port.get("port", 1)
    rate = port.get("rate_gbps")
    state = port.get("state")
    if state is None:
        shown, word = State.UNKNOWN, "unknown"
    elif state != "ACTIVE":
        shown, word = State.BAD, str(state).lower()
    elif port.get("usable") is False:
        shown, word = State.BAD, "not usable"
    elif port.get("usable") is None:
        shown, word = State.UNKNOWN, "active"
    else:
        shown, word = State.GOOD, "active"
    up = state in (None, "ACTIVE")
    # A port that is down shows a placeholder for its rate.
    speed = f"{rate:g} Gb/s" if up and rate else ""
    fabric = f"{_fabric(port)} VF".lstrip() if is_virtual else _fabric(port)
    parts = [fabric, speed, *map(str, _list(port, "netdevs")[:1])]
    text = " \N{MIDDLE DOT} ".join(part for part in parts if part) or "RDMA"
    return Port(f"{nic}:{number}", str(number), shown, word, text, rate * 1e9 / 8 if up and rate else None)


def _fabric(port: Mapping[str, Any]) -> str:
    layer = port.get("link_layer")
    if any("RoCE" in str(gid.get("type")) for gid in _list(port, "gids")) and layer != "InfiniBand":
        return "RoCE"
    return {"InfiniBand": "IB", "Unknown": "", None: ""}.get(layer, str(layer))


def _netdev(netdev: Mapping[str, Any]) -> Device:
    name = str(netdev["name"])
    speed = netdev.get("speed_mbps")
    operstate = netdev.get("operstate")
    loopback = bool(netdev.get("loopback"))
    if loopback or operstate == "up":
        state, word = State.GOOD, "up"
    elif operstate in (None, "unknown"):
        state, word = State.UNKNOWN, "unknown"
    else:
        state, word = State.BAD, str(operstate)
    addresses = _list(netdev, "addresses")
    what = "loopback" if loopback else f"{speed / 1000:g} Gb/s" if speed else "TCP"
    text = " \N{MIDDLE DOT} ".join((what, *map(str, addresses[:1])))
    port = Port(name, "", state, word, text, speed * 1e6 / 8 if speed else None)
    address = str(netdev.get("pci") or netdev.get("driver") or "virtual")
    return Device(name, "netdev", _number(netdev.get("numa_node")), name, state, word, text, address, ports=(port,))


def _is_shown(netdev: Mapping[str, Any], has_nics: bool) -> bool:
    """Virtual interfaces without an address say nothing, and lo matters where KV has no other way."""
    if netdev.get("loopback"):
        return not has_nics
    return bool(netdev.get("pci") or netdev.get("addresses"))


def _told(findings: Sequence[Finding], name: str) -> tuple[State, str]:
    """Returns the state that the gravest findings about `name` give it, and their number in words."""
    whole = re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-])")
    for severity, state in ((Severity.ERROR, State.BAD), (Severity.WARNING, State.WARN)):
        count = sum(finding.severity is severity and bool(whole.search(finding.subject)) for finding in findings)
        if count:
            return state, f"{count} {severity}{'s' if count > 1 else ''}"
    return State.PLAIN, ""


def _netdevs(nic: Mapping[str, Any]) -> list[str]:
    ports = [name for port in _list(nic, "ports") for name in _list(port, "netdevs")]
    return [str(name) for name in (*_list(nic, "netdevs"), *ports)]


def gpu_order(gpu: Mapping[str, Any]) -> tuple[Any, ...]:
    """Returns what GPUs are sorted by: their CUDA numbers, then NVML's."""
    # Infinity puts a GPU without a number behind those that have one.
    numbers = (gpu.get(key) for key in ("cuda_index", "nvml_index"))
    return (*(float("inf") if number is None else number for number in numbers), str(gpu.get("id")))


def _natural(text: str) -> list[tuple[int, int, str]]:
    parts = re.findall(r"\d+|\D+", text)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _list(entry: Mapping[str, Any], key: str) -> list[Any]:
    value = entry.get(key)
    return list(value) if isinstance(value, list | tuple) else []


def _dict(entry: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = entry.get(key)
    return dict(value) if isinstance(value, Mapping) else {}
