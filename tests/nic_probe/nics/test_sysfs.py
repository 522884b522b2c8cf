from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.nics.sysfs import probe_rdma
from pdpanel.nic_probe.reading import Reading
from pdpanel.nic_probe.sources.files import HostFiles
from rdma_tree import (
    FE80,
    FUNCTION,
    INFINIBAND,
    PORT_GUID,
    ROCE,
    ROOT_PORT,
    V2,
    FaultyTree,
    device_of,
    devices_of,
    gid_table,
    mapped,
    memory_tree,
    netdev,
    rdma_device,
    rdma_port,
    uverbs,
)

Grow = Callable[[Mapping[str, str]], Path]


def test_a_roce_device(grow: Grow) -> None:
    files = {
        **rdma_device(
            "mlx5_0",
            {1: rdma_port(ROCE, counters__port_xmit_data="5\n", counters__port_rcv_data="6\n")},
            fw_ver="28.39.1002",
            board_id="MT_0000000838",
            node_guid="0a7f:bc12:45ef:d23b",
        ),
        **netdev("eth2", FUNCTION, mtu="4200\n"),
        **uverbs(0, "mlx5_0"),
    }
    device = devices_of(HostFiles(grow(files)))["mlx5_0"]
    assert (device.node_type.value, device.firmware.value, device.board.value, device.node_guid.value) == (
        "CA",
        "28.39.1002",
        "MT_0000000838",
        "0a7f:bc12:45ef:d23b",
    )
    assert (device.driver.value, device.pci.value, device.numa_node.value) == ("mlx5_core", "0000:18:00.0", 0)
    assert (device.netdevs.value, device.bond.known, device.management.value) == (("eth2",), False, False)
    assert device.physical_function.reason == "is no virtual function"
    assert device.verbs_node.reason == "the capture does not say whether it can be opened"
    assert (device.usable, device.why_not) == (True, "")
    (port,) = device.ports
    assert (port.number, port.state.value, port.physical_state.value, port.active) == (1, "ACTIVE", "LinkUp", True)
    assert (port.rate_gbps.value, port.rate.value, port.link_layer.value) == (400.0, "400 Gb/sec (4X NDR)", "Ethernet")
    assert (port.mtu.value, port.netdevs, port.pkeys, port.gid_table_length.value) == (4096, ("eth2",), (0xFFFF,), 8)
    assert [(gid.index, gid.address, gid.rank) for gid in port.gids] == [
        (0, "fe80::a00:27ff:fe00:1", 6),
        (1, "fe80::a00:27ff:fe00:1", 3),
        (3, "192.168.1.5", 0),
    ]
    assert (port.counters.tx_bytes.value, port.counters.rx_bytes.value) == (20, 24)


@pytest.mark.parametrize("name", ["rocep24s0", "ibp24s0", "rdmap24s0", "x"])
def test_a_name_means_nothing(name: str) -> None:
    files = {**rdma_device(name, {1: rdma_port(ROCE)}), **netdev("eth2", FUNCTION), **uverbs(0, name)}
    device = device_of(files)
    assert (device.name, device.driver.value, device.verbs_node.source) == (
        name,
        "mlx5_core",
        "/dev/infiniband/uverbs0",
    )


def test_a_bond_of_two_functions() -> None:
    table = gid_table({3: (mapped("10.0.0.1"), V2, "bond0")})
    files = {
        **rdma_device("mlx5_bond_0", {1: rdma_port(table, rate="200 Gb/sec (4X HDR)")}),
        **netdev("eth0", FUNCTION, master="-> ../bond0"),
        **netdev("bond0", bonding__mode="802.3ad 4", mtu="9000"),
    }
    device = device_of(files)
    assert (device.bond.value, device.netdevs.value) == ("bond0", ("eth0",))
    assert (device.ports[0].netdevs, device.ports[0].mtu.value) == (("bond0",), 4096)


def test_a_virtual_function_is_down_while_its_physical_one_is_up() -> None:
    files = {
        **rdma_device("mlx5_0", {1: rdma_port(ROCE)}),
        **rdma_device("mlx5_9", {1: rdma_port(state="1: DOWN", phys_state="3: Disabled")}, pci="0000:18:00.2"),
        f"{ROOT_PORT}/0000:18:00.2/physfn": "-> ../0000:18:00.0",
        **netdev("eth2", FUNCTION),
    }
    found = devices_of(HostFiles(memory_tree(files)))
    assert (found["mlx5_0"].usable, found["mlx5_9"].usable) == (True, False)
    assert found["mlx5_9"].physical_function.value == "mlx5_0"
    assert "on its physical function" in found["mlx5_9"].why_not


def test_a_subfunction_has_interfaces_of_its_own() -> None:
    part = f"{FUNCTION}/mlx5_core.sf.4"
    files = {
        **rdma_device("mlx5_0", {1: rdma_port(ROCE)}),
        **rdma_device("mlx5_4", {1: rdma_port(ROCE)}, auxiliary="mlx5_core.sf.4", driver="mlx5_core.sf"),
        **netdev("eth2", FUNCTION),
        f"{part}/net/en3f0/mtu": "9000",
        "sys/class/net/en3f0": f"-> ../../../{part}/net/en3f0",
    }
    found = devices_of(HostFiles(memory_tree(files)))
    assert (found["mlx5_4"].netdevs.value, found["mlx5_4"].ports[0].mtu.value) == (("en3f0",), 4096)
    assert (found["mlx5_4"].pci.value, found["mlx5_4"].driver.value) == ("0000:18:00.0", "mlx5_core")
    assert found["mlx5_0"].netdevs.value == ("eth2",)


def test_functions_that_manage_nvswitches_are_told_by_their_vpd() -> None:
    files: dict[str, str | bytes] = {
        **rdma_device("mlx5_0", {1: rdma_port(PORT_GUID, **INFINIBAND)}),
        **rdma_device("mlx5_1", {1: rdma_port(PORT_GUID, **INFINIBAND)}, pci="0000:19:00.0"),
        **rdma_device("mlx5_2", {1: rdma_port(ROCE)}, pci="0000:1a:00.0"),
        **rdma_device("switch", {0: rdma_port(PORT_GUID, **INFINIBAND)}, pci="0000:1b:00.0", node_type="2: switch"),
        f"{FUNCTION}/vpd": b"\x82\x10\x00ConnectX\xff\x00V3\x06SW_MNG\x00",
        f"{ROOT_PORT}/0000:19:00.0/vpd": b"\x82\x10\x00ConnectX\xff\x00",
        f"{ROOT_PORT}/0000:1a:00.0/vpd": b"is not even read",
    }
    assert {name: device.management.value for name, device in devices_of(HostFiles(memory_tree(files))).items()} == {
        "mlx5_0": True,
        "mlx5_1": False,
        "mlx5_2": False,
        "switch": True,
    }


def test_vpd_that_only_root_may_read_leave_it_unknown() -> None:
    files = {**rdma_device("mlx5_0", {1: rdma_port(PORT_GUID, **INFINIBAND)}), f"{FUNCTION}/vpd": "x"}
    device = devices_of(HostFiles(FaultyTree(files, {"vpd": errno.EACCES})))["mlx5_0"]
    assert (device.management.known, device.management.source) == (False, f"/{FUNCTION}/vpd")


def test_a_container_without_the_device_node() -> None:
    files = {
        **rdma_device("mlx5_0", {1: rdma_port(ROCE)}),
        **rdma_device("mlx5_1", {1: rdma_port(ROCE)}, pci="0000:19:00.0"),
        **uverbs(0, "mlx5_0"),
        **uverbs(1, "mlx5_1"),
        "pdpanel/facts.json": '{"devices": {"/dev/infiniband/uverbs1":'
        ' {"kind": "character", "readable": true, "writable": true}}}',
    }
    found = devices_of(HostFiles(memory_tree(files)))
    assert (found["mlx5_1"].usable, found["mlx5_1"].verbs_node.value) == (True, "/dev/infiniband/uverbs1")
    assert (found["mlx5_0"].usable, found["mlx5_0"].verbs_node.known) == (False, False)
    assert found["mlx5_0"].why_not == (
        "/dev/infiniband/uverbs0 does not exist here, although the kernel lists the device: "
        "start the container with --device=/dev/infiniband."
    )


def test_a_broken_file_hides_nothing_else() -> None:
    broken = rdma_port({"gids/0": "not a gid\n", "gids/1": FE80}, rate="much", state="N/A", pkeys=("x", "0x8001"))
    files = {
        **rdma_device("mlx5_0", {1: broken}, numa="-1"),
        **rdma_device("mlx5_1", {1: rdma_port({})}, pci="0000:19:00.0"),
        "sys/class/infiniband/mlx5_2/fw_ver": "1\n",
        "sys/class/infiniband/mlx5_3": "-> ../../devices/scif_dma_0/infiniband/mlx5_3",
    }
    found = devices_of(HostFiles(memory_tree(files)))
    assert list(found) == ["mlx5_0", "mlx5_1", "mlx5_2"], "a name that leads nowhere is no device"
    port = found["mlx5_0"].ports[0]
    assert port.rate_gbps.reason == "reads 'much', which is not a rate in Gb/sec"
    assert (port.state.known, port.active, port.physical_state.value, port.pkeys) == (False, False, "LinkUp", (0x8001,))
    assert [gid.index for gid in port.gids] == [1]
    assert (port.usable, found["mlx5_0"].usable, found["mlx5_0"].numa_node.known) == (None, None, False)
    assert found["mlx5_1"].ports[0].active
    assert (found["mlx5_2"].ports, found["mlx5_2"].usable, found["mlx5_2"].pci.known) == ((), None, False)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EACCES, errno.EOPNOTSUPP, errno.ENODEV, errno.EIO])
def test_a_device_all_of_whose_files_refuse_hides_no_other(number: int) -> None:
    files = {
        **rdma_device("mlx5_0", {1: rdma_port(ROCE)}),
        **rdma_device("mlx5_1", {1: rdma_port(ROCE)}, pci="0000:19:00.0"),
    }
    faults = {path.partition("mlx5_0")[2]: number for path in files if "mlx5_0/" in path}
    faults = {f"mlx5_0{end}": number for end in faults if end}
    found = devices_of(HostFiles(FaultyTree(files, faults)))
    assert (found["mlx5_0"].usable, found["mlx5_0"].node_type.known) == (None, False)
    assert found["mlx5_1"].usable is True


def test_no_directory_is_no_device() -> None:
    devices = probe_rdma(HostFiles(memory_tree({"sys/class/net/lo/mtu": "65536"})), (), {})
    assert (devices.value, devices.source) == ((), "/sys/class/infiniband")


def test_a_directory_that_cannot_be_listed_is_unreadable() -> None:
    files = HostFiles(memory_tree({"sys/class/infiniband": "a file where a folder belongs"}))
    assert probe_rdma(files, (), {}) == Reading(None, "/sys/class/infiniband", "not a directory")


def test_devices_come_in_natural_order() -> None:
    files = {f"sys/class/infiniband/mlx5_{number}/fw_ver": "1" for number in (10, 2, 0, 11, 1)}
    assert list(devices_of(HostFiles(memory_tree(files)))) == [f"mlx5_{number}" for number in (0, 1, 2, 10, 11)]


_HOST = {
    **rdma_device("x", {1: rdma_port(ROCE, counters__port_xmit_data="1", hw_counters__tx_bytes="1")}, fw_ver="1"),
    **netdev("eth2", FUNCTION, master="-> ../bond0"),
    **uverbs(0, "x"),
    f"{FUNCTION}/physfn": "-> ../0000:18:00.1",
    f"{FUNCTION}/vpd": "x",
}
_PLAIN = sorted(path for path, text in _HOST.items() if not text.startswith("-> "))
_LINKS = sorted(set(_HOST) - set(_PLAIN))


@given(
    st.dictionaries(st.sampled_from(_PLAIN), st.one_of(st.binary(max_size=60), st.text(max_size=60)), max_size=20),
    st.dictionaries(st.sampled_from(_LINKS), st.text("./ax0:", max_size=20), max_size=4),
    st.sets(st.sampled_from(_PLAIN), max_size=8),
)
def test_garbage_in_any_file_never_raises(
    texts: dict[str, str | bytes], links: dict[str, str], missing: set[str]
) -> None:
    files: dict[str, str | bytes] = {**_HOST, **texts, **{path: f"-> {to}" for path, to in links.items()}}
    kept = {path: text for path, text in files.items() if path not in missing}
    found = devices_of(HostFiles(memory_tree(kept)))
    for device in found.values():
        assert (device.usable is True) == (device.why_not == "")
        for port in device.ports:
            assert (port.usable is True) == (port.why_not == "")


def test_sixteen_nics_with_whole_tables() -> None:
    files: dict[str, str] = {}
    for number in range(16):
        table = gid_table({3: (mapped(f"10.0.{number}.1"), V2, f"eth{number}")}, 256)
        pci = f"0000:{number:02x}:00.0"
        files |= rdma_device(f"mlx5_{number}", {1: rdma_port(table)}, pci=pci)
        files |= netdev(f"eth{number}", f"{ROOT_PORT}/{pci}", mtu="9000")
    found = devices_of(HostFiles(memory_tree(files)))
    assert len(found) == 16
    for number, device in enumerate(found.values()):
        (port,) = device.ports
        assert (device.usable, port.gid_table_length.value, port.mtu.value) == (True, 256, 4096)
        assert [(gid.index, gid.address) for gid in port.gids] == [(3, f"10.0.{number}.1")]
