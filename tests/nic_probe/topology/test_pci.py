"""The reader of PCI functions and of the bridges above them, on trees that the tests make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.nic_probe.sources.memory import Link, MemoryTree
from pdpanel.nic_probe.topology.pci import PciDevice, PcieLink, pci_numa_node, probe_pci
from simulated_host import read as known
from simulated_host import unread

Grow = Callable[[Mapping[str, str]], Path]
Capture = Callable[[str], Path]

ROOT = "sys/devices/pci0000:16"
SWITCH = f"{ROOT}/0000:16:01.0/0000:17:00.0"
GPU = f"{SWITCH}/0000:18:00.0/0000:19:00.0"
NIC = f"{SWITCH}/0000:18:01.0/0000:1a:00.0"


def function(path: str, **files: str) -> dict[str, str]:
    """Returns the files of a function at `path`, with its link on the bus."""
    address = path.rpartition("/")[2]
    plain = {"class": "0x030200", "vendor": "0x10de", "device": "0x2330", "numa_node": "1"}
    return {
        **{f"{path}/{name}": text for name, text in (plain | files).items()},
        f"sys/bus/pci/devices/{address}": f"-> ../../../{path.removeprefix('sys/')}",
    }


def bridge(path: str) -> dict[str, str]:
    return function(path, **{"class": "0x060400", "numa_node": "-1"})


@pytest.fixture
def switched(grow: Grow) -> HostFiles:
    """A GPU and a NIC below two ports of one switch."""
    gpu = {
        "current_link_speed": "16.0 GT/s PCIe\n",
        "current_link_width": "8\n",
        "max_link_speed": "32 GT/s\n",
        "max_link_width": "16\n",
    }
    nic = {"class": "0x020700", "current_link_speed": "Unknown", "current_link_width": "0", "max_link_width": "63"}
    files = function(GPU, **gpu) | function(NIC, **nic)
    for path in (f"{ROOT}/0000:16:01.0", SWITCH, f"{SWITCH}/0000:18:00.0", f"{SWITCH}/0000:18:01.0"):
        files |= bridge(path)
    files |= {f"{GPU}/driver": "-> ../../../../../../../bus/pci/drivers/nvidia"}
    return HostFiles(grow(files))


def read(files: HostFiles, *addresses: str) -> Mapping[str, PciDevice]:
    return probe_pci(files, addresses).devices


def test_device_has_the_chain_from_the_root_down(switched: HostFiles) -> None:
    gpu = read(switched, "0000:19:00.0")["0000:19:00.0"]
    assert gpu.path == GPU
    assert gpu.chain == ("pci0000:16", "0000:16:01.0", "0000:17:00.0", "0000:18:00.0", "0000:19:00.0")
    assert gpu.bridges == ("0000:16:01.0", "0000:17:00.0", "0000:18:00.0")
    assert (gpu.class_code.value, gpu.vendor.value, gpu.device.value) == (0x0302, "0x10de", "0x2330")
    assert (gpu.driver.value, gpu.numa_node.value) == ("nvidia", 1)


def test_every_bridge_above_comes_along_once(switched: HostFiles) -> None:
    devices = read(switched, "0000:19:00.0", "0000:1a:00.0")
    assert set(devices) == {
        *("0000:19:00.0", "0000:18:00.0", "0000:17:00.0", "0000:16:01.0"),
        *("0000:1a:00.0", "0000:18:01.0"),
    }
    port = devices["0000:18:01.0"]
    assert port.chain == ("pci0000:16", "0000:16:01.0", "0000:17:00.0", "0000:18:01.0")
    assert port.path == f"{SWITCH}/0000:18:01.0"
    assert port.class_code.value == 0x0604


def test_link_now_and_at_most(switched: HostFiles) -> None:
    link = read(switched, "0000:19:00.0")["0000:19:00.0"].link
    assert (link.speed_gts.value, link.width.value) == (16.0, 8)
    assert (link.max_speed_gts.value, link.max_width.value) == (32.0, 16)


def test_link_that_nobody_knows_is_unreadable_with_what_was_read(switched: HostFiles) -> None:
    link = read(switched, "0000:1a:00.0")["0000:1a:00.0"].link
    for reading, text in ((link.speed_gts, "Unknown"), (link.width, "0"), (link.max_width, "63")):
        assert reading.value is None
        assert f"'{text}'" in reading.reason
    assert link.max_speed_gts.reason == "does not exist"


def test_numa_node_of_minus_one_is_unknown(switched: HostFiles) -> None:
    node = read(switched, "0000:19:00.0")["0000:18:00.0"].numa_node
    assert node.value is None
    assert "-1" in node.reason


def test_numa_node_comes_from_the_mask_of_near_cpus_where_the_file_is_missing(grow: Grow) -> None:
    nodes = {"0": "00000000,000000ff", "8": "000000ff,00000000", "255": "00000000,00000000"}
    files = HostFiles(
        grow(
            {f"sys/devices/system/node/node{node}/cpumap": mask for node, mask in nodes.items()}
            | {
                "sys/devices/system/node/online": "0,8,255",
                "sys/bus/pci/devices/0004:05:00.0/local_cpus": "ff,00000000",
                "sys/bus/pci/devices/0004:06:00.0/local_cpus": "ff,000000ff",
                "sys/bus/pci/devices/0004:07:00.0/local_cpus": "0,00000000",
                "sys/bus/pci/devices/0004:08:00.0/local_cpus": "ff",
                "sys/bus/pci/devices/0004:08:00.0/numa_node": "-1",
            }
        )
    )
    found = {
        name: pci_numa_node(files, f"sys/bus/pci/devices/0004:{name}:00.0").value for name in ("05", "06", "07", "08")
    }
    assert found == {"05": 8, "06": None, "07": None, "08": None}


def test_plain_folder_has_neither_chain_nor_path(grow: Grow) -> None:
    files = HostFiles(grow({"sys/bus/pci/devices/0004:05:00.0/class": "0x030000"}))
    device = read(files, "0004:05:00.0")["0004:05:00.0"]
    assert (device.chain, device.path, device.class_code.value) == ((), "", 0x0300)
    assert device.vendor.reason == "does not exist"


def test_virtual_function_names_its_physical_one(grow: Grow) -> None:
    physical, virtual = f"{ROOT}/0000:16:01.0/0000:17:00.0", f"{ROOT}/0000:16:01.0/0000:17:00.2"
    files = HostFiles(
        grow(
            function(physical)
            | function(virtual)
            | bridge(f"{ROOT}/0000:16:01.0")
            | {f"{virtual}/physfn": "-> ../0000:17:00.0"}
        )
    )
    devices = read(files, "0000:17:00.0", "0000:17:00.2")
    assert devices["0000:17:00.2"].physical_function.value == "0000:17:00.0"
    assert not devices["0000:17:00.0"].physical_function.known
    assert devices["0000:16:01.0"].physical_function.reason == "is a bridge"


def test_root_below_other_folders_and_root_below_a_root(grow: Grow) -> None:
    guest = "sys/devices/LNXSYSTM:00/LNXSYBUS:00/ACPI0004:00/VMBUS:00/47505500-0001/pci0001:00/0001:00:00.0"
    nested = "sys/devices/pci0000:64/0000:64:00.5/pci10000:00/10000:00:02.0/10000:01:00.0"
    files = HostFiles(grow(_linked(guest) | _linked(nested)))
    devices = read(files, "0001:00:00.0", "10000:01:00.0")
    assert devices["0001:00:00.0"].chain == ("pci0001:00", "0001:00:00.0")
    assert devices["0001:00:00.0"].path == guest
    assert devices["10000:01:00.0"].chain == ("pci10000:00", "10000:00:02.0", "10000:01:00.0")


def _linked(path: str) -> dict[str, str]:
    """Returns a function whose link on the bus is an absolute one, as some archivers make them."""
    return {f"{path}/class": "0x030200", f"sys/bus/pci/devices/{path.rpartition('/')[2]}": f"-> /{path}"}


def test_function_is_found_by_its_class_where_the_bus_is_not_captured(grow: Grow) -> None:
    files = HostFiles(
        grow(
            {
                f"{NIC}/class": "0x020700",
                f"{NIC}/infiniband/mlx5_0/node_type": "1: CA",
                f"{NIC}/infiniband/mlx5_0/device": "-> ../../../0000:1a:00.0",
                "sys/class/infiniband/mlx5_0": f"-> ../../{NIC.removeprefix('sys/')}/infiniband/mlx5_0",
            }
        )
    )
    assert read(files, "0000:1a:00.0")["0000:1a:00.0"].path == NIC


@pytest.mark.parametrize("address", ["0000:99:00.0", "", "../../..", "0000:19:00.0/..", "0000:19:00.0\n", "virtual"])
def test_address_that_is_not_listed_or_is_none_is_left_out(switched: HostFiles, address: str) -> None:
    assert read(switched, address) == {}


def test_link_that_leads_nowhere_or_round_in_circles_is_left_out(grow: Grow) -> None:
    files = HostFiles(
        grow(
            {
                "sys/bus/pci/devices/0000:19:00.0": "-> ../../../devices/gone/0000:19:00.0",
                "sys/bus/pci/devices/0000:1a:00.0": "-> 0000:1b:00.0",
                "sys/bus/pci/devices/0000:1b:00.0": "-> 0000:1a:00.0",
            }
        )
    )
    assert read(files, "0000:19:00.0", "0000:1a:00.0", "0000:1b:00.0") == {}


TEXTS = st.text(max_size=12) | st.sampled_from(["16.0 GT/s PCIe", "-1", "0x060400", "9" * 5000, "ff,", "1e9 GT/s"])
NAMES = ("class", "vendor", "device", "numa_node", "local_cpus", "current_link_speed", "max_link_width", "physfn")


@given(texts=st.dictionaries(st.sampled_from(NAMES), TEXTS), cpumap=TEXTS)
def test_whatever_the_files_hold_is_a_value_or_a_reason(texts: dict[str, str], cpumap: str) -> None:
    written = {f"{GPU}/{name}": text for name, text in texts.items()}
    written |= {"sys/devices/system/node/node0/cpumap": cpumap, f"{GPU}/subsystem": "there is something"}
    files: dict[str, bytes | Link | None] = {path: text.encode() for path, text in written.items()}
    files["sys/bus/pci/devices/0000:19:00.0"] = Link(f"/{GPU}")
    device = read(HostFiles(MemoryTree(files)), "0000:19:00.0")["0000:19:00.0"]
    assert device.path == GPU
    link = device.link
    for reading in (device.class_code, device.numa_node, link.speed_gts, link.max_width, device.physical_function):
        assert reading.known != bool(reading.reason)


PLACES = st.sampled_from([GPU, NIC, SWITCH, ROOT, "sys/bus/pci/devices/0000:19:00.0", "sys/bus/pci/devices", "gone"])


@given(links=st.dictionaries(PLACES, PLACES), files=st.lists(PLACES))
def test_tree_of_any_links_is_read_or_left_out(links: dict[str, str], files: list[str]) -> None:
    tree: dict[str, bytes | Link | None] = {f"{path}/class": b"0x030200" for path in files}
    tree |= {path: Link(f"/{target}") for path, target in links.items()}
    for device in read(HostFiles(MemoryTree(tree)), "0000:19:00.0", "0000:1a:00.0").values():
        assert device.chain == () or device.path.endswith("/".join(device.chain))
        assert device.chain[-1:] in ((), (device.address,))


def test_real_capture_with_an_hca(capture: Capture) -> None:
    files = HostFiles(capture("hwloc-sysfs/32em64t-2n8c+dax+nvme+mic+dimms.tar.bz2"))
    nic = read(files, "0000:82:00.0")["0000:82:00.0"]
    assert nic.chain == ("pci0000:80", "0000:80:02.2", "0000:82:00.0")
    assert (nic.class_code.value, nic.vendor.value, nic.device.value) == (0x0280, "0x15b3", "0x1003")
    assert nic.numa_node.value == 1


def test_real_capture_without_a_tree(capture: Capture) -> None:
    files = HostFiles(capture("hwloc-sysfs/nvidiagpunumanodes.tar.bz2"))
    first, second = ("0004:05:00.0", "0004:06:00.0", "0006:00:00.0"), ("0007:00:00.0", "0035:04:00.0", "0035:05:00.0")
    devices = read(files, *first, *second)
    assert {address: device.chain for address, device in devices.items()} == dict.fromkeys((*first, *second), ())
    assert {devices[address].class_code.value for address in (*first, *second)} == {0x0300}
    assert [devices[address].numa_node.value for address in first] == [0, 0, 0]
    assert [devices[address].numa_node.value for address in second] == [8, 8, 8]


@pytest.mark.parametrize(
    ("speed", "width", "gb_per_s"),
    [(2.5, 1, 0.25), (8.0, 16, 15.75), (16.0, 16, 31.51), (32.0, 16, 63.02), (64.0, 16, 121.0), (32.0, None, None)],
)
def test_what_a_link_carries(speed: float, width: int | None, gb_per_s: float | None) -> None:
    lanes = unread() if width is None else known(width)
    assert PcieLink(known(speed), lanes, known(speed), lanes).gb_per_s.value == gb_per_s
