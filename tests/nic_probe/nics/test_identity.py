from __future__ import annotations

from collections.abc import Mapping

import pytest
from pdpanel.nic_probe.netdev import probe_netdevs
from pdpanel.nic_probe.nics.identity import (
    bond_of,
    driver_of,
    management_by_vpd,
    management_without_vpd,
    physical_function_of,
)
from pdpanel.nic_probe.reading import Reading
from pdpanel.nic_probe.sources.files import HostFiles
from rdma_tree import memory_tree, netdev, rdma_device, software_device
from simulated_host import read, unread

PLACE = "sys/class/infiniband/x"
FUNCTION = "sys/devices/pci0000:15/0000:15:01.0/0000:18:00.0"


def _driver(files: Mapping[str, str], node_type: Reading[str], function: str | None = FUNCTION) -> Reading[str]:
    return driver_of(HostFiles(memory_tree(files)), PLACE, function, node_type)


def test_the_driver_is_where_the_link_points() -> None:
    assert _driver(rdma_device("x", {}, driver="bnxt_en"), read("CA")).value == "bnxt_en"


@pytest.mark.parametrize("driver", ["irdma", "irdma.gen_2"])
def test_the_driver_of_an_auxiliary_device_is_its_module(driver: str) -> None:
    assert _driver(rdma_device("x", {}, driver=driver, auxiliary="ice.roce.0"), read("CA")).value == "irdma"


def test_an_auxiliary_device_without_a_driver_has_that_of_its_function() -> None:
    files = rdma_device("x", {}, auxiliary="ice.roce.0")
    files = {key: text for key, text in files.items() if not key.endswith("ice.roce.0/driver")}
    files[f"{FUNCTION}/driver"] = "-> ../../../bus/pci/drivers/ice"
    assert _driver(files, read("CA")).value == "ice"


@pytest.mark.parametrize(("node_type", "driver"), [("CA", "rdma_rxe"), ("RNIC", "siw")])
def test_a_software_device_is_told_by_what_it_speaks(node_type: str, driver: str) -> None:
    assert _driver(software_device("x", "eth0", "", {}), read(node_type), None).value == driver


def test_a_software_device_of_unknown_kind() -> None:
    driver = _driver(software_device("x", "eth0", "", {}), unread(), None)
    assert driver == Reading(None, f"/{PLACE}/parent", "is a software device on eth0 of unknown kind")


def test_a_capture_without_a_device_link_does_not_know_the_driver() -> None:
    assert _driver({f"{PLACE}/fw_ver": "1"}, read("CA"), None).reason == "does not exist"


def test_a_virtual_function_belongs_to_the_rdma_device_of_its_physical_one() -> None:
    files = HostFiles(memory_tree({f"{FUNCTION}/physfn": "-> ../0000:18:00.7"}))
    assert physical_function_of(files, FUNCTION, {"0000:18:00.7": "mlx5_0"}).value == "mlx5_0"
    assert physical_function_of(files, FUNCTION, {}).value == "0000:18:00.7"


def test_a_physical_function_has_none() -> None:
    files = HostFiles(memory_tree({f"{FUNCTION}/vendor": "0x15b3"}))
    assert physical_function_of(files, FUNCTION, {}).reason == "is no virtual function"
    assert physical_function_of(files, None, {}).reason == "is not on a PCI device that is known"


def _bond(files: Mapping[str, str], own: tuple[str, ...], of_gids: tuple[str, ...]) -> str | None:
    host = HostFiles(memory_tree(files))
    return bond_of(host, own, of_gids, {one.name: one for one in probe_netdevs(host)}).value


BOND = netdev("bond0", bonding__mode="802.3ad 4")
MEMBER = netdev("eth0", FUNCTION, master="-> ../bond0")


def test_a_bond_by_its_gids() -> None:
    assert _bond({**BOND, **netdev("eth0", FUNCTION)}, ("eth0",), ("eth5", "bond0")) == "bond0"


def test_a_bond_by_its_member() -> None:
    assert _bond({**BOND, **MEMBER}, ("eth0",), ()) == "bond0"


def test_a_bond_by_proc_alone() -> None:
    assert _bond({**MEMBER, **netdev("bond0"), "proc/net/bonding/bond0": "x"}, ("eth0",), ()) == "bond0"


def test_a_bond_that_is_not_in_the_capture() -> None:
    member = {**MEMBER, **netdev("eth0", FUNCTION, master="-> ../bond0", bonding_slave__state="active")}
    assert _bond(member, ("eth0",), ()) == "bond0"
    assert _bond(MEMBER, ("eth0",), ("bond0",)) == "bond0"
    assert _bond(MEMBER, ("eth0",), ()) is None


def test_a_bridge_is_no_bond() -> None:
    member = netdev("eth0", FUNCTION, master="-> ../br0", brport__state="3")
    assert _bond({**member, **netdev("br0")}, ("eth0",), ("br0",)) is None


def test_an_interface_alone_is_no_bond() -> None:
    assert _bond(netdev("eth0", FUNCTION), ("eth0", "gone"), ("eth0", "gone")) is None


@pytest.mark.parametrize("text", ["Switch", "switch"])
def test_a_switch_manages_itself(text: str) -> None:
    managing = management_without_vpd(read(text), ["InfiniBand"])
    assert managing is not None and managing.value is True


@pytest.mark.parametrize("layers", [["Ethernet"], ["Unknown"], ["Ethernet", "Unknown"]])
def test_only_infiniband_manages_nvswitches(layers: list[str]) -> None:
    managing = management_without_vpd(read("CA"), layers)
    assert managing is not None and managing.value is False


@pytest.mark.parametrize("layers", [["InfiniBand"], [None], [], ["Ethernet", "InfiniBand"]])
def test_infiniband_has_to_be_asked(layers: list[str | None]) -> None:
    assert management_without_vpd(unread(), layers) is None


def test_the_mark_of_a_management_function_lies_between_binary_data() -> None:
    assert management_by_vpd(read(b"\x82\x2e\x00\xff\xfeV2\x06SW_MNG\x00\x78")).value is True
    assert management_by_vpd(read(b"\x82\x2e\x00\xff\xfeV2\x06MT2301\x00\x78")).value is False
    assert management_by_vpd(unread("permission denied")).reason == "permission denied"
