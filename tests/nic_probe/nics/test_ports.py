from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from rdma_tree import (
    FUNCTION,
    INFINIBAND,
    PORT_GUID,
    ROCE,
    V2,
    device_of,
    gid_table,
    mapped,
    netdev,
    rdma_device,
    rdma_port,
)

Grow = Callable[[Mapping[str, str]], Path]


def test_an_infiniband_device_with_limited_partition_keys() -> None:
    port = rdma_port(PORT_GUID, **INFINIBAND, pkeys=("0x7fff", "0x0000", "0x0000"))
    device = device_of({**rdma_device("mlx5_0", {1: port}), **netdev("ib0", FUNCTION, type="32", mtu="2044")})
    (found,) = device.ports
    assert (found.pkeys, found.lid.value, found.sm_lid.value, found.usable) == ((0x7FFF,), 0x3A4, 1, True)
    assert [(gid.index, gid.rank, gid.netdev.known) for gid in found.gids] == [(0, 1, False)]
    assert (found.mtu.reason, device.management.reason) == (
        "is told by verbs alone, and not derived without RoCE",
        "does not exist",
    )


def test_two_ports_have_an_interface_each() -> None:
    files = {
        **rdma_device("mlx4_0", {1: rdma_port(ROCE), 2: rdma_port(state="1: DOWN", phys_state="2: Polling")}),
        **netdev("eth0", FUNCTION, dev_port="0", mtu="1500"),
        **netdev("eth1", FUNCTION, dev_port="1", mtu="9000"),
    }
    device = device_of(files)
    assert device.netdevs.value == ("eth0", "eth1")
    assert [(port.number, port.netdevs, port.mtu.value, port.usable) for port in device.ports] == [
        (1, ("eth0",), 1024, True),
        (2, ("eth1",), 4096, False),
    ]
    assert device.usable is True


def test_a_port_that_is_up_without_an_interface_in_this_namespace() -> None:
    device = device_of(rdma_device("mlx5_0", {1: rdma_port(gid_table({}, 256))}))
    assert (device.usable, device.ports[0].netdevs, device.ports[0].gid_table_length.value) == (False, (), 256)
    assert "move the interface in, or use the host's network" in device.why_not


def test_gids_without_their_interface_are_usable_with_a_doubt() -> None:
    device = device_of(rdma_device("mlx5_0", {1: rdma_port(gid_table({4: (mapped("10.1.0.1"), V2, None)}))}))
    (port,) = device.ports
    assert (device.usable, port.gids[0].rank) == (True, 4)
    assert port.doubts == ("No GID has an interface in this network namespace; Mooncake takes one all the same.",)


def test_a_pod_on_macvlan_has_the_interface_that_its_gids_name() -> None:
    table = gid_table({5: (mapped("10.56.1.9"), V2, "net1"), 6: (mapped("10.56.1.9"), V2, None)}, 256)
    (port,) = device_of({**rdma_device("mlx5_3", {1: rdma_port(table)}), **netdev("net1", mtu="9000")}).ports
    assert (port.netdevs, port.mtu.value, port.usable, port.doubts) == (("net1",), 4096, True, ())


@pytest.mark.parametrize(
    ("rate", "gbps"),
    [
        ("100 Gb/sec (4X EDR)", 100.0),
        ("2.5 Gb/sec (1X SDR)", 2.5),
        ("25 Gb/sec (1X EDR)", 25.0),
        ("0 Gb/sec", 0.0),
        ("Gb/sec", None),
        ("1e999 Gb/sec", None),
        ("9" * 400 + " Gb/sec", None),
    ],
)
def test_rates(rate: str, gbps: float | None) -> None:
    assert device_of(rdma_device("x", {1: rdma_port(rate=rate)})).ports[0].rate_gbps.value == gbps


def test_a_port_folder_that_is_no_number_is_no_port() -> None:
    files = {f"sys/class/infiniband/x/ports/{name}/state": "4: ACTIVE" for name in ("1", "01x", "²", "9999")}
    assert [port.number for port in device_of(files).ports] == [1]
