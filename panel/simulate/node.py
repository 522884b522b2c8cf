"""A GPU node as kernel files: PCI tree with switches, NUMA nodes, GPUs, RDMA NICs, and a healthy system around them.

`grow_node` writes what `sys/` and `proc/` of such a node hold, with links as the kernel makes them, and
`pdpanel/facts.json` of a dump. What a driver answers with EINVAL (the type of an empty GID) is a file that is
absent. `system` has the files that no device owns. Called with what a description says, and by tests.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .system import Card, Files, Make, system_files

__all__ = ["Node", "grow_node", "write_tree"]

_LINK_GTS = "32.0 GT/s PCIe"
_BUSES_OF_A_SWITCH = 32
_OTHER_COUNTERS = ("symbol_error", "link_error_recovery", "link_downed", "port_rcv_errors", "port_xmit_discards")
_OTHER_COUNTERS += ("port_rcv_constraint_errors", "local_link_integrity_errors", "VL15_dropped", "port_xmit_wait")
_MLX5_COUNTERS = ("out_of_sequence", "packet_seq_err", "local_ack_timeout_err", "rnr_nak_retry_err", "np_cnp_sent")
_MLX5_COUNTERS += ("rp_cnp_handled", "out_of_buffer", "rx_write_requests", "rx_read_requests", "rx_icrc_encapsulated")
_BNXT_COUNTERS = ("tx_bytes", "rx_bytes", "tx_pkts", "rx_pkts", "to_retransmits", "np_cnp_pkts", "rx_roce_errors")
_EFA_COUNTERS = ("tx_bytes", "rx_bytes", "send_bytes", "recv_bytes", "rdma_read_bytes", "rdma_write_bytes", "rx_drops")


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a NIC driver shows: names of its devices, PCI ids, its counters of bytes in hw_counters."""

    prefix: str
    vendor: str
    device: str
    board: str
    port_counters: bool = False
    hw_counters: tuple[str, ...] = ()
    pci_class: str = "0x020000"


_KINDS = {
    "mlx5_core": _Kind("mlx5_", "0x15b3", "0x1021", "MT4129", True, _MLX5_COUNTERS),
    "bnxt_en": _Kind("bnxt_re", "0x14e4", "0x1760", "BCM57608", False, _BNXT_COUNTERS),
    "ionic": _Kind("ionic_", "0x1dd8", "0x1002", "POLLARA", False, ("tx_rdma_ucast_bytes", "rx_rdma_ucast_bytes")),
    "erdma": _Kind("erdma_", "0x1ded", "0x107f", "erdma", False, ("tx_bytes_cnt", "rx_bytes_cnt")),
    "efa": _Kind("rdmap", "0x1d0f", "0xefa2", "efa", False, _EFA_COUNTERS),
    "ice": _Kind("irdma", "0x8086", "0x1592", "E810", False, ("ip4InOctets", "ip4OutOctets", "tcpRetransSegs")),
}
_GPUS = {"nvidia": ("0x10de", "0x2330", "0x030200"), "amdgpu": ("0x1002", "0x74a1", "0x038000")}


@dataclass(frozen=True, slots=True)
class Node:
    """What was grown.

    Attributes:
        root: the folder that stands for `/`.
        gpus: PCI addresses of the GPUs, in order.
        nics: names of the RDMA devices in order, the storage NIC and then the virtual functions last.
        pci: each RDMA device's PCI address.
        netdevs: each RDMA device's interface; empty for a link layer that is Unknown, as EFA has it.
        numa: the NUMA node of each PCI address; -1 on a flat tree.
        switch: the uplink of the switch above each PCI address; those without a switch are absent.
    """

    root: Path
    gpus: tuple[str, ...]
    nics: tuple[str, ...]
    pci: Mapping[str, str]
    netdevs: Mapping[str, str]
    numa: Mapping[str, int]
    switch: Mapping[str, str]


def grow_node(
    root: Path,
    *,
    gpus: int = 8,
    nics: int = 16,
    gids: int = 256,
    numa_nodes: int = 2,
    gpus_per_switch: int = 2,
    nics_per_switch: int = 4,
    flat: bool = False,
    gpu_driver: str = "nvidia",
    nic_driver: str = "mlx5_core",
    link_layer: str = "Ethernet",
    rate: str = "400 Gb/sec (4X NDR)",
    down: Collection[int] = (),
    storage_nic: bool = False,
    vfs: int = 0,
    facts: bool = True,
    missing: Collection[str] = (),
    make: Make | None = None,
) -> Node:
    """Writes a healthy node below `root`, which may exist and be empty.

    Args:
        gpus: how many; those of one switch follow each other.
        nics: RDMA NICs of one port, without the storage NIC.
        gids: length of each GID table; four entries are in use on Ethernet, one on InfiniBand.
        numa_nodes: the switches are spread over them in order, and 16 CPUs each.
        flat: no bridges and NUMA node -1, as a virtual machine shows it.
        gpu_driver: nvidia or amdgpu.
        nic_driver: mlx5_core, bnxt_en, ionic, erdma, efa or ice.
        link_layer: Ethernet, InfiniBand or Unknown.
        rate: of each port that is up, as the kernel writes it.
        down: numbers of NICs whose port is down.
        storage_nic: one more NIC of 25 Gb/s at a root port of its own, whose interface has the default route.
        vfs: virtual functions of each NIC, with a port that is up.
        facts: write `pdpanel/facts.json`, as a dump of a healthy node has it.
        missing: patterns of paths that are not written, such as `*/numa_node` or `proc/driver/*`.
        make: what tells its make from another.
    """
    grower = _Grower(numa_nodes, flat)
    kind = _KINDS[nic_driver]
    switches = max(-(-gpus // gpus_per_switch), -(-nics // nics_per_switch), 1)
    gpu_vendor, gpu_device, gpu_class = _GPUS[gpu_driver]
    gpu_places = [grower.place(number // gpus_per_switch, switches) for number in range(gpus)]
    for place in gpu_places:
        grower.function(place, gpu_class, gpu_vendor, gpu_device, gpu_driver)
    places = [grower.place(number // nics_per_switch, switches) for number in range(nics)]
    for number, place in enumerate(places):
        grower.function(place, "0x020700" if link_layer == "InfiniBand" else kind.pci_class, *_ids(kind, nic_driver))
        card = _card(kind, place, number, link_layer, rate, number not in down)
        grower.nic(card, kind, gids)
        grower.files[f"{place}/sriov_totalvfs"] = "16"
        grower.files[f"{place}/sriov_numvfs"] = str(vfs)
    if storage_nic:
        place = grower.place(None, switches)
        grower.function(place, kind.pci_class, *_ids(kind, nic_driver))
        grower.nic(_card(kind, place, nics, "Ethernet", "25 Gb/sec (1X EDR)", True), kind, gids)
    for number, parent in enumerate(places):
        for index in range(vfs):
            place = grower.virtual_function(parent, index)
            grower.function(place, kind.pci_class, *_ids(kind, nic_driver))
            later = nics + storage_nic + number * vfs + index
            grower.nic(_card(kind, place, later, link_layer, rate, True), kind, gids)
    addresses = [os.path.basename(place) for place in gpu_places]
    own = Make() if make is None else make
    files = grower.files | system_files(
        addresses, grower.cards, numa_nodes, gpu_driver, nic_driver, storage_nic, facts, own
    )
    write_tree(root, {path: text for path, text in files.items() if not _matches(path, missing)})
    return Node(
        root=root,
        gpus=tuple(addresses),
        nics=tuple(card.name for card in grower.cards),
        pci={card.name: card.pci for card in grower.cards},
        netdevs={card.name: card.netdev for card in grower.cards},
        numa=grower.numa,
        switch=grower.switch,
    )


def write_tree(root: Path, files: Mapping[str, str]) -> None:
    """Writes `files` below `root`; a text that starts with `-> ` makes a link."""
    for folder in {os.path.dirname(path) for path in files}:
        os.makedirs(root / folder, exist_ok=True)
    for path, text in files.items():
        place = os.path.join(root, path)
        if text.startswith("-> "):
            os.symlink(text[3:], place)
        else:
            with open(place, "w", encoding="utf-8") as file:
                file.write(text if text.endswith("\n") or not text else text + "\n")


def _matches(path: str, patterns: Collection[str]) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def _ids(kind: _Kind, driver: str) -> tuple[str, str, str]:
    return kind.vendor, kind.device, driver


def _card(kind: _Kind, place: str, number: int, link_layer: str, rate: str, up: bool) -> Card:
    pci = os.path.basename(place)
    name = f"rdmap{int(pci[5:7], 16)}s{int(pci[8:10], 16)}" if kind.prefix == "rdmap" else f"{kind.prefix}{number}"
    netdev = {"Ethernet": f"eth{number + 1}", "InfiniBand": f"ib{number}"}.get(link_layer, "")
    return Card(name, number, netdev, pci, place, link_layer, rate if up else "2.5 Gb/sec (1X SDR)", up)


@dataclass(slots=True)
class _Grower:
    """Gathers the files of the PCI devices; every place is a path below sys/devices."""

    numa_nodes: int
    flat: bool
    files: Files = field(default_factory=dict)
    cards: list[Card] = field(default_factory=list)
    numa: dict[str, int] = field(default_factory=dict)
    switch: dict[str, str] = field(default_factory=dict)
    _taken: dict[int, int] = field(default_factory=dict)

    def place(self, switch: int | None, switches: int) -> str:
        """Returns the place of the next endpoint below `switch`; below a root port of its own without one."""
        number = switches if switch is None else switch
        nth = self._taken[number] = self._taken.get(number, -1) + 1
        domain, first = divmod(number * _BUSES_OF_A_SWITCH, 256)
        node = 0 if switch is None else number * self.numa_nodes // switches
        if self.flat:
            return self._put(f"sys/devices/pci{number:04x}:00", f"{number:04x}:00:{nth:02x}.0", -1)
        root = f"sys/devices/pci{domain:04x}:{first:02x}"
        port = self._bridge(root, f"{domain:04x}:{first:02x}:01.0", node)
        if switch is None:
            return self._put(port, f"{domain:04x}:{first + 1:02x}:00.0", node)
        uplink = self._bridge(port, f"{domain:04x}:{first + 1:02x}:00.0", node)
        downlink = self._bridge(uplink, f"{domain:04x}:{first + 2:02x}:{nth:02x}.0", node)
        place = self._put(downlink, f"{domain:04x}:{first + 3 + nth:02x}:00.0", node)
        self.switch[os.path.basename(place)] = os.path.basename(uplink)
        return place

    def virtual_function(self, physical: str, index: int) -> str:
        """Returns the place of a virtual function of the one at `physical`, and links the two."""
        parent, address = os.path.split(physical)
        slot, function = divmod(index + 1, 8)
        place = self._put(parent, f"{address[:-4]}{slot:02x}.{function}", self.numa[address])
        if address in self.switch:
            self.switch[os.path.basename(place)] = self.switch[address]
        self.files[f"{place}/physfn"] = f"-> ../{address}"
        self.files[f"{physical}/virtfn{index}"] = f"-> ../{os.path.basename(place)}"
        return place

    def _put(self, parent: str, address: str, node: int) -> str:
        self.numa[address] = node
        return f"{parent}/{address}"

    def _bridge(self, parent: str, address: str, node: int) -> str:
        place = self._put(parent, address, node)
        if f"{place}/class" not in self.files:
            self.function(place, "0x060400", "0x1000", "0xc030", "pcieport")
        return place

    def function(self, place: str, pci_class: str, vendor: str, device: str, driver: str) -> None:
        """Adds the files of one PCI function."""
        address = os.path.basename(place)
        node = self.numa[address]
        values = {
            "class": pci_class,
            "vendor": vendor,
            "device": device,
            "subsystem_vendor": vendor,
            "subsystem_device": "0x0001",
            "revision": "0xa1",
            "enable": "1",
            "numa_node": str(node),
            "local_cpulist": f"{node * 16}-{node * 16 + 15}" if node >= 0 else f"0-{self.numa_nodes * 16 - 1}",
            "local_cpus": _mask(node, self.numa_nodes),
            "aer_dev_correctable": "RxErr 0\nBadTLP 0\nTOTAL_ERR_COR 0",
            "aer_dev_fatal": "DLP 0\nTOTAL_ERR_FATAL 0",
            "aer_dev_nonfatal": "DLP 0\nTOTAL_ERR_NONFATAL 0",
            "driver": "-> " + os.path.relpath(f"sys/bus/pci/drivers/{driver}", place),
            "subsystem": "-> " + os.path.relpath("sys/bus/pci", place),
        }
        for when in ("current", "max"):
            values |= {f"{when}_link_speed": _LINK_GTS, f"{when}_link_width": "16"}
        self.files |= {f"{place}/{name}": value for name, value in values.items()}
        self.files[f"sys/bus/pci/devices/{address}"] = "-> " + os.path.relpath(place, "sys/bus/pci/devices")
        self.files[f"sys/bus/pci/drivers/{driver}/{address}"] = "-> " + os.path.relpath(
            place, f"sys/bus/pci/drivers/{driver}"
        )

    def nic(self, card: Card, kind: _Kind, gids: int) -> None:
        """Adds the RDMA device and the interface of a NIC."""
        self.cards.append(card)
        device = f"{card.place}/infiniband/{card.name}"
        values = {
            "fw_ver": "28.39.1002",
            "hca_type": kind.board,
            "board_id": f"{kind.board}_0001",
            "node_guid": f"a088:c203:0000:{card.number:04x}",
            "sys_image_guid": f"a088:c203:0000:{card.number:04x}",
            "node_type": "1: CA",
            "node_desc": f"simulated {card.name}",
            "device": f"-> ../../../{card.pci}",
            **{f"ports/1/{name}": value for name, value in _port(card, kind, gids).items()},
        }
        self.files |= {f"{device}/{name}": value for name, value in values.items()}
        self._class("infiniband", card.name, device)
        for kind_name, name in (("infiniband_verbs", f"uverbs{card.number}"), ("infiniband_mad", f"umad{card.number}")):
            place = f"{card.place}/{kind_name}/{name}"
            self.files |= {f"{place}/ibdev": card.name, f"{place}/device": f"-> ../../../{card.pci}"}
            extra = {"dev": f"231:{192 + card.number}", "abi_version": "1"} if name[1] == "v" else {"port": "1"}
            self.files |= {f"{place}/{key}": value for key, value in extra.items()}
            self._class(kind_name, name, place)
        if card.netdev:
            place = f"{card.place}/net/{card.netdev}"
            self.files |= {f"{place}/{name}": value for name, value in card.interface().items()}
            self._class("net", card.netdev, place)

    def _class(self, name: str, device: str, place: str) -> None:
        self.files[f"sys/class/{name}/{device}"] = "-> " + os.path.relpath(place, f"sys/class/{name}")


def _mask(node: int, nodes: int) -> str:
    bits = (1 << 16) - 1 << node * 16 if node >= 0 else (1 << nodes * 16) - 1
    text = f"{bits:0{nodes * 4}x}".rjust(8, "0")
    return ",".join(text[max(end - 8, 0) : end] for end in range(len(text) % 8 or 8, len(text) + 1, 8))


def _port(card: Card, kind: _Kind, gids: int) -> Files:
    values = {
        "state": "4: ACTIVE" if card.up else "1: DOWN",
        "phys_state": "5: LinkUp" if card.up else "3: Disabled",
        "rate": card.rate,
        "link_layer": card.link_layer,
        "lid": f"0x{card.number + 1:x}" if card.link_layer == "InfiniBand" else "0x0",
        "sm_lid": "0x1" if card.link_layer == "InfiniBand" else "0x0",
        "lid_mask_count": "0",
        "cap_mask": "0x00010000",
        **{
            f"pkeys/{index}": "0x0000" if index else "0xffff"
            for index in range(128 if card.link_layer[0] == "I" else 1)
        },
    }
    table = card.gids()
    for index in range(gids):
        address, kind_of = table.get(index, ("0000:" * 7 + "0000", ""))
        values[f"gids/{index}"] = address
        if kind_of:
            values[f"gid_attrs/types/{index}"] = kind_of
            if card.link_layer == "Ethernet":
                values[f"gid_attrs/ndevs/{index}"] = card.netdev
    if kind.port_counters:
        words = {"port_xmit_data": 1 << 40, "port_rcv_data": 1 << 41, "port_xmit_packets": 1 << 30}
        words |= {"port_rcv_packets": 1 << 31, "unicast_xmit_packets": 1 << 30, "unicast_rcv_packets": 1 << 31}
        values |= {f"counters/{name}": str(value + card.number) for name, value in words.items()}
        values |= {f"counters/{name}": "0" for name in _OTHER_COUNTERS}
    # Counters of traffic have counted, those of errors have not.
    busy = ("bytes", "pkts", "Octets", "requests", "cnt")
    counts = {name: (1 << 30) + card.number if name.endswith(busy) else 0 for name in kind.hw_counters}
    values |= {f"hw_counters/{name}": str(count) for name, count in counts.items()}
    return values | {"hw_counters/lifespan": "10"}
