"""Probe documents of made-up hosts, as plain dicts in the shape of `nic_probe.document`.

From a host with nothing to sixteen GPUs, for the tests of the picture and of the Hardware tab. No such machine
was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pdpanel.nic_probe.finding import Evidence, Finding, Severity

__all__ = ["HOSTS", "findings_of", "gpu", "host_document", "nic", "port"]

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


def port(number: int = 1, *, netdev: str = "", state: str = "ACTIVE", rate: float = 400.0, **changes: Any) -> Document:
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


def nothing() -> Document:
    """A laptop: neither GPU nor NIC."""
    plain = netdev("eth0", None, driver="virtio_net", pci=None, numa_node=None)
    loop = netdev("lo", None, loopback=True, addresses=["127.0.0.1"], operstate="unknown", pci=None, driver=None)
    return host_document("laptop", netdevs=[loop, plain], notes=["No NVIDIA driver: NVML is not installed."])


def eight_pairs() -> Document:
    """8 GPUs and 8 NICs, a switch for each two of both, two NUMA nodes; one more port is storage's."""
    gpus = [gpu(place, f"0000:{0x18 + 8 * place:02x}:00.0", place // 4) for place in range(8)]
    nics = [
        nic(f"mlx5_{place}", f"0000:{0x19 + 8 * place:02x}:00.0", place // 4, port(netdev=f"eth{place + 1}"))
        for place in range(8)
    ]
    storage = nic("mlx5_8", "0000:05:00.0", 0, port(netdev="stor0", rate=200), fit=False, signs=["a storage NIC"])
    switches = {
        f"0000:{0x16 + 16 * place:02x}:00.0": (
            [one["id"] for one in gpus[2 * place : 2 * place + 2]],
            [one["name"] for one in nics[2 * place : 2 * place + 2]],
        )
        for place in range(4)
    }
    return host_document(
        "gpu-node-07",
        gpus=gpus,
        nics=[*nics, storage],
        netdevs=[netdev("eno1"), netdev("eth1", 400_000)],
        numa=2,
        switches=switches,
        levels=lambda one, other: (
            "PIX"
            if gpus.index(one) // 2 == (nics.index(other) if other in nics else -1) // 2
            else "NODE"
            if one["numa_node"] == other["numa_node"]
            else "SYS"
        ),
        chosen={one["id"]: [other["name"]] for one, other in zip(gpus, nics, strict=True)},
    )


def sixteen_nics() -> Document:
    """8 GPUs and 16 NICs on two NUMA nodes, two of the NICs down, one without a usable GID."""
    gpus = [gpu(place, f"0000:{0x59 + 9 * place:02x}:00.0", place // 4) for place in range(8)]
    nics: list[Document] = []
    for place in range(16):
        state = "DOWN" if place in (5, 11) else "ACTIVE"
        one = port(netdev=f"rdma{place}", rate=200.0, state=state)
        if place == 14:
            one |= {"usable": False, "why_not": "port 1 is ACTIVE and has no usable GID", "gids": []}
        nics.append(nic(f"rdmap{place}s0", f"0000:{0x40 + 4 * place:02x}:1b.0", place // 8, one, driver="efa"))
    switches = {
        f"0000:{0x3E + 16 * place:02x}:00.0": (
            [one["id"] for one in gpus[2 * place : 2 * place + 2]],
            [one["name"] for one in nics[4 * place : 4 * place + 4]],
        )
        for place in range(4)
    }

    def usable(place: int) -> list[str]:
        start = 4 * (place // 2)
        return [one["name"] for one in nics[start : start + 4] if one["usable"]]

    return host_document(
        "train-3.example",
        gpus=gpus,
        nics=nics,
        netdevs=[netdev("ens5", 100_000)],
        numa=2,
        switches=switches,
        levels=lambda one, other: (
            "PIX"
            if gpus.index(one) // 2 == nics.index(other) // 4
            else "NODE"
            if one["numa_node"] == other["numa_node"]
            else "SYS"
        ),
        chosen={one["id"]: usable(place) for place, one in enumerate(gpus)},
        notes=["rdmap14s0 is ACTIVE without a usable GID, so it is not preferred."],
    )


def from_file() -> Document:
    """A host of a topology file: no state, no numbers, no NUMA node for half of it."""
    gpus = [
        gpu(
            place,
            f"0000:{0x10 * (place + 1):02x}:1c.0",
            None if place > 1 else 0,
            cuda_index=None,
            nvml_index=None,
            visible_index=None,
            name="GA100",
            uuid=None,
            memory_total_bytes=None,
            memory_used_bytes=None,
            health={},
            processes=None,
            pcie_link=None,
            unreadable={"uuid": "the file does not say", "memory_total_bytes": "the file does not say"},
        )
        for place in range(4)
    ]
    silent: Document = {"state": None, "physical_state": None, "gids": [], "rate_gbps": 100.0, "mtu": None}
    unsaid: Document = {"unreadable": {"state": "the file does not say", "mtu": "the file does not say"}}
    nics = [
        nic(
            f"rdmap{place}s27",
            f"0000:{0x10 * (place + 1):02x}:1b.0",
            None if place > 1 else 0,
            port(rate=100.0, usable=None, why_not="the file does not say", **silent, **unsaid),
            usable=None,
            why_not="the file does not say",
        )
        for place in range(4)
    ]
    return host_document(
        "p4-like",
        gpus=gpus,
        nics=nics,
        numa=2,
        live=False,
        source="hwloc",
        levels=lambda one, other: "PHB" if one["numa_node"] == 0 == other["numa_node"] else "UNKNOWN",
        chosen={one["id"]: [other["name"] for other in nics if other["numa_node"] == one["numa_node"]] for one in gpus},
        notes=["The file shows no PCI bridges, so paths within a NUMA node are at best PHB."],
    )


def largest() -> Document:
    """16 GPUs and 36 NICs on 8 NUMA nodes, two-port NICs among them; the last node's choices lie on another."""
    gpus = [gpu(place, f"0001:{place:02x}:00.0", place // 2) for place in range(16)]
    nics = [
        nic(f"bnxt_re{place}", f"0002:{place:02x}:00.0", place % 8, port(netdev=f"ens{place}"), port(2, state="DOWN"))
        if place % 9 == 0
        else nic(f"bnxt_re{place}", f"0002:{place:02x}:00.0", place % 8, port(netdev=f"ens{place}"))
        for place in range(36)
    ]

    def near(one: Document) -> list[str]:
        node = 0 if one["numa_node"] == 7 else one["numa_node"]
        return [other["name"] for other in nics if other["numa_node"] == node]

    return host_document(
        "sixteen",
        gpus=gpus,
        nics=nics,
        numa=8,
        levels=lambda one, other: "NODE" if one["numa_node"] == other["numa_node"] else "SYS",
        chosen={one["id"]: near(one) for one in gpus},
    )


def flat() -> Document:
    """A virtual machine that shows 8 GPUs and 8 NICs on one bus, without any NUMA node for them."""
    gpus = [gpu(place, f"0000:00:{0x10 + place:02x}.0", None) for place in range(8)]
    nics = [nic(f"mlx5_{place}", f"0000:00:{4 + place:02x}.0", None, port(netdev=f"ib{place}")) for place in range(8)]
    everyone = [one["name"] for one in nics]
    return host_document(
        "flat-vm",
        gpus=gpus,
        nics=nics,
        numa=2,
        levels=lambda one, other: "PHB",
        chosen={one["id"]: everyone for one in gpus},
    )


HOSTS: Mapping[str, Callable[[], Document]] = {
    "nothing": nothing,
    "eight_pairs": eight_pairs,
    "sixteen_nics": sixteen_nics,
    "from_file": from_file,
    "largest": largest,
    "flat": flat,
}


def findings_of(document: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Returns made-up findings about a made-up host: one for each NIC that is not usable, and some of each severity."""
    found = [
        Finding(
            id="port-down",
            severity=Severity.ERROR,
            subject=one["name"],
            evidence=(Evidence(f"/sys/class/infiniband/{one['name']}/ports/1/state", "1: DOWN"),),
            reason=f"{one['why_not']}: workers that were given this NIC cannot start.",
            remedy=f"Look at the cable and the switch port, then: `rdma link show {one['name']}/1`",
        )
        for one in document["nics"]
        if one["usable"] is False
    ]
    found += [
        Finding(
            id="gpu-foreign-memory",
            severity=Severity.WARNING,
            subject=one["id"],
            evidence=(Evidence("nvml", "pid 4242 holds 20.97 GB"), Evidence("/proc/4242", "not visible from here")),
            reason="Another process holds 20.97 GB of this GPU, so a worker that plans with all of it runs out.",
            remedy="Find out whose process it is: `nvidia-smi --query-compute-apps=pid,used_memory --format=csv`",
        )
        for one in document["gpus"][:1]
        if one["processes"]
    ]
    found.append(
        Finding(
            id="dma-buf",
            severity=Severity.UNKNOWN,
            subject="dma-buf",
            evidence=(Evidence("/proc/modules", "cannot be opened"),),
            reason="Whether NICs can read GPU memory directly is not known.",
            remedy="Run the doctor on the host itself: `pdpanel doctor`",
        )
    )
    found.append(
        Finding(
            id="memlock",
            severity=Severity.INFO,
            subject="RLIMIT_MEMLOCK",
            evidence=(Evidence("getrlimit", "unlimited"),),
            reason="Workers may pin as much memory as they like.",
        )
    )
    return tuple(found)
