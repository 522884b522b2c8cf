"""Parts of made-up probe documents, as plain dicts in the shape of `nic_probe.document`: a GPU, a NIC, a whole host.

What a test does not name is as on a healthy machine. No such machine was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["Document", "gpu", "host_document", "netdev", "nic", "port"]

Document = dict[str, Any]


def gpu(index: int, pci: str, numa: int | None, **changes: Any) -> Document:
    """Returns a healthy GPU with number `index` everywhere."""
    return {
        "id": pci,
        "pci": pci,
        "vendor": "NVIDIA",
        "name": "NVIDIA H100 80GB HBM3",
        "uuid": f"GPU-{index:08x}-1111-2222-3333-444444444444",
        "nvml_index": index,
        "cuda_index": index,
        "visible_index": index,
        "memory_total_bytes": 85_520_809_984,
        "memory_used_bytes": 511_705_088 if index else 21_474_836_480,
        "architecture": "9.0",
        "numa_node": numa,
        "busy_percent": 3 * index,
        "processes": []
        if index
        else [{"pid": 4242, "name": None, "memory_bytes": 20_971_520_000, "unreadable": {"name": "another container"}}],
        "health": {
            "ecc_enabled": True,
            "ecc_uncorrected": 0,
            "memory_retired_pending": False,
            "throttle_reasons": [],
            "compute_mode": "Default",
            "persistence": True,
            "mig": False,
            "fabric": "completed",
            "nvlinks_active": 18,
            "nvlinks_inactive": 0,
            "bar1_total_bytes": 137_438_953_472,
            "dma_buf": True,
            "temperature_c": 31 + index,
            "power_w": 112.5,
            "power_limit_w": 700.0,
            "power_limit_default_w": None,
            "unreadable": {"power_limit_default_w": "NVML says Not Supported"},
        },
        "pci_chain": [],
        "pcie_link": {"speed_gts": 32.0, "width": 16, "max_speed_gts": 32.0, "max_width": 16},
        **changes,
    }


def port(
    number: int = 1, *, netdev: str = "", state: str | None = "ACTIVE", rate: float = 400.0, **changes: Any
) -> Document:
    """Returns a port; one that is not ACTIVE is not usable."""
    active = state == "ACTIVE"
    gids = [
        {"index": 0, "address": "fe80::1", "type": "IB/RoCE v1", "netdev": netdev, "rank": 5, "why_not": ""},
        {"index": 3, "address": "10.1.0.7", "type": "RoCE v2", "netdev": netdev, "rank": 0, "why_not": ""},
    ]
    return {
        "port": number,
        "active": active,
        "state": state,
        "physical_state": "LinkUp" if active else "Polling",
        "rate_gbps": rate,
        "rate": f"{rate:g} Gb/sec (4X NDR)",
        "link_layer": "Ethernet",
        "lid": 0,
        "sm_lid": 0,
        "mtu": 4096,
        "pkeys": [65535],
        "gid_table_length": 256,
        "gids": gids if active else [],
        "netdevs": [netdev] if netdev else [],
        "counters": {"tx_bytes": 10**12, "rx_bytes": 2 * 10**12, "source": "port counters", "others": {}},
        "usable": active,
        "why_not": "" if active else f"port {number} is {state}",
        **changes,
    }


def nic(name: str, pci: str | None, numa: int | None, *ports: Document, **changes: Any) -> Document:
    """Returns a NIC that is usable when one of its ports is."""
    usable = any(one["usable"] for one in ports)
    return {
        "name": name,
        "node_type": "CA",
        "board": "MT_0000000838",
        "firmware": "28.39.1002",
        "node_guid": "0a7f:bc12:45ef:d23b",
        "driver": "mlx5_core",
        "pci": pci,
        "numa_node": numa,
        "netdevs": [netdev for one in ports for netdev in one["netdevs"]],
        "physical_function": None,
        "bond": None,
        "management": False,
        "verbs_node": f"/dev/infiniband/uverbs{name[-1]}",
        "ports": list(ports),
        "usable": usable,
        "why_not": "" if usable else ", ".join(one["why_not"] for one in ports) or "it shows no port",
        "fit": True,
        "signs": [],
        "pci_chain": [],
        "pcie_link": {"speed_gts": 32.0, "width": 16, "max_speed_gts": 32.0, "max_width": 16},
        "unreadable": {"physical_function": "is a physical function", "bond": "is not bonded"},
        **changes,
    }


def netdev(name: str, speed_mbps: int | None = 25_000, **changes: Any) -> Document:
    """Returns an interface that is up."""
    return {
        "name": name,
        "mac": "02:00:00:00:00:01",
        "mtu": 1500,
        "speed_mbps": speed_mbps,
        "operstate": "up",
        "addresses": ["10.0.0.7"],
        "driver": "mlx5_core",
        "pci": "0000:04:00.0",
        "numa_node": 0,
        "loopback": False,
        "unreadable": {} if speed_mbps else {"speed_mbps": "the driver does not say"},
        **changes,
    }


def host_document(
    name: str,
    *,
    gpus: Sequence[Document] = (),
    nics: Sequence[Document] = (),
    netdevs: Sequence[Document] = (),
    numa: int = 1,
    switches: Mapping[str, tuple[Sequence[str], Sequence[str]]] | None = None,
    levels: Callable[[Document, Document], str] = lambda gpu, nic: "PIX",
    chosen: Mapping[str, Sequence[str]] | None = None,
    live: bool = True,
    source: str = "sysfs",
    notes: Sequence[str] = (),
) -> Document:
    """Returns a whole document; `chosen` are the NICs of each GPU, `levels` the class of every path."""
    chosen = {one["id"]: [] for one in gpus} if chosen is None else chosen
    everyone = [one["name"] for one in nics]
    return {
        "host": {
            "name": name,
            "live": live,
            "source": source,
            "kernel": "6.8.0-60-generic" if live else None,
            "os": "Ubuntu 24.04.2 LTS" if live else None,
            "driver_version": "570.86.15" if gpus and live else None,
            "runtime_version": "12.8" if gpus and live else None,
            "ibverbs": "libibverbs.so.1" if live else None,
            "cpu": {
                "model": "Intel(R) Xeon(R) Platinum 8480C" if live else None,
                "sockets": 2,
                "cores": 112,
                "threads": 224,
                "instruction_sets": ["avx2", "avx512f", "amx_tile", "amx_bf16"],
                "unreadable": {} if live else {"model": "the file does not say"},
            },
            "memory": {
                "total_bytes": 2_164_000_000_000 if live else None,
                "available_bytes": 2_000_000_000_000 if live else None,
                "huge_pages_total": 0,
                "unreadable": {} if live else {"total_bytes": "the file does not say"},
            },
            "netdevs": list(netdevs),
            "unreadable": {} if live else {"kernel": "the file does not say", "os": "the file does not say"},
        },
        "numa_nodes": [
            {"id": node, "cpus": f"{node * 56}-{node * 56 + 55}", "memory_bytes": 2**40} for node in range(numa)
        ],
        "gpus": list(gpus),
        "nics": list(nics),
        "paths": [
            {
                "gpu": one["id"],
                "nic": other["name"],
                "class": levels(one, other),
                "mooncake_distance": 2 if levels(one, other) == "PIX" else 9,
                "source": source,
                "reason": "same switch" if levels(one, other) == "PIX" else "through the host bridges",
            }
            for one in gpus
            for other in nics
        ],
        "switches": [
            {"pci": pci, "gpus": list(below), "nics": list(names)} for pci, (below, names) in (switches or {}).items()
        ],
        "mooncake_topology": {
            f"cuda:{place}": [list(names), [one for one in everyone if one not in names]]
            for place, names in enumerate(chosen.values())
        },
        "mooncake_alone": {},
        "ib_devices": {key: list(names) for key, names in chosen.items()},
        "notes": list(notes),
    }
