"""Probe documents of made-up hosts, put together from `sample_devices`.

From a host with nothing to sixteen GPUs, for the tests of the picture and of the Hardware tab. No such machine
was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pdpanel.nic_probe.finding import Evidence, Finding, Severity
from sample_devices import Document, gpu, host_document, netdev, nic, port

__all__ = ["HOSTS", "findings_of"]


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
