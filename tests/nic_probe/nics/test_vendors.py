from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from pdpanel.nic_probe.sources.files import HostFiles
from rdma_tree import (
    FE80,
    FUNCTION,
    INFINIBAND,
    PORT_GUID,
    ROCE,
    V1,
    device_of,
    devices_of,
    gid_table,
    netdev,
    rdma_device,
    rdma_port,
    software_device,
)

Grow = Callable[[Mapping[str, str]], Path]


VENDORS: dict[str, tuple[dict[str, str], str, str, str]] = {
    # What the kernel shows of each vendor: the device's files, then driver, counters' source and node type.
    "mlx5": (
        rdma_device("d", {1: rdma_port(ROCE, counters__port_xmit_data="1", counters__port_rcv_data="1")}),
        "mlx5_core",
        "port counters",
        "CA",
    ),
    "mlx4": (
        rdma_device(
            "d",
            {1: rdma_port(PORT_GUID, **INFINIBAND, counters__port_xmit_data="1", counters__port_rcv_data="1")},
            driver="mlx4_core",
        ),
        "mlx4_core",
        "port counters",
        "CA",
    ),
    "bnxt_re": (
        rdma_device(
            "d",
            {
                1: rdma_port(
                    ROCE,
                    hw_counters__tx_bytes="1",
                    hw_counters__rx_bytes="1",
                    hw_counters__to_retransmits="0",
                    counters__port_xmit_data="N/A (no PMA)",
                )
            },
            driver="bnxt_en",
        ),
        "bnxt_en",
        "hw_counters (bnxt_re)",
        "CA",
    ),
    "ionic": (
        rdma_device(
            "d",
            {1: rdma_port(ROCE, hw_counters__tx_rdma_ucast_bytes="1", hw_counters__rx_rdma_ucast_bytes="1")},
            driver="ionic_rdma",
            auxiliary="ionic.rdma.0",
        ),
        "ionic_rdma",
        "hw_counters (ionic)",
        "CA",
    ),
    "erdma": (
        rdma_device(
            "d",
            {1: rdma_port(ROCE, hw_counters__tx_bytes_cnt="1", hw_counters__rx_bytes_cnt="1")},
            driver="erdma",
            node_type="4: RNIC",
        ),
        "erdma",
        "hw_counters (erdma)",
        "RNIC",
    ),
    "efa": (
        rdma_device(
            "d",
            {
                1: rdma_port(
                    gid_table({0: (FE80, V1, None)}, 1),
                    link_layer="Unknown",
                    hw_counters__tx_bytes="1",
                    hw_counters__rx_bytes="1",
                    hw_counters__send_bytes="1",
                )
            },
            driver="efa",
            node_type="7: unspecified",
        ),
        "efa",
        "hw_counters (efa)",
        "unspecified",
    ),
    "irdma": (
        rdma_device(
            "d",
            {1: rdma_port(ROCE, hw_counters__ip4OutOctets="1", hw_counters__ip4InOctets="1")},
            driver="irdma.gen_2",
            auxiliary="ice.roce.0",
        ),
        "irdma",
        "hw_counters (irdma)",
        "CA",
    ),
    "hfi1": (
        rdma_device(
            "d",
            {1: rdma_port(PORT_GUID, **INFINIBAND, counters__port_xmit_data="1", counters__port_rcv_data="1")},
            driver="hfi1",
        ),
        "hfi1",
        "port counters",
        "CA",
    ),
    "rxe": (
        software_device("d", "eth2", "1: CA", {1: rdma_port(ROCE, hw_counters__sent_pkts="1")}),
        "rdma_rxe",
        "netdev eth2 (includes non-RDMA)",
        "CA",
    ),
    "siw": (
        software_device("d", "eth2", "4: RNIC", {1: rdma_port(gid_table({0: (FE80, V1, None)}, 1))}),
        "siw",
        "netdev eth2 (includes non-RDMA)",
        "RNIC",
    ),
    "a driver of tomorrow": (
        rdma_device("d", {1: rdma_port(ROCE, hw_counters__flits="1")}, driver="tomorrow", node_type="9: <unknown>"),
        "tomorrow",
        "netdev eth2 (includes non-RDMA)",
        "<unknown>",
    ),
}
STATISTICS = {"statistics__tx_bytes": "1", "statistics__rx_bytes": "1"}


@pytest.mark.parametrize("vendor", VENDORS)
def test_vendors(vendor: str) -> None:
    files, driver, counted, node_type = VENDORS[vendor]
    device = device_of({**files, **netdev("eth2", FUNCTION, **STATISTICS)})
    assert (device.driver.value, device.node_type.value) == (driver, node_type)
    assert (device.usable, device.why_not) == (True, "")
    (port,) = device.ports
    assert (port.counters.source, port.active) == (counted, True)
    assert device.netdevs.value == port.netdevs == ("eth2",)
    software = vendor in ("rxe", "siw")
    assert (device.pci.value, device.numa_node.value) == ((None, None) if software else ("0000:18:00.0", 0))


def test_the_capture_with_a_pci_path(capture: Callable[[str], Path]) -> None:
    found = devices_of(HostFiles(capture("hwloc-sysfs/32em64t-2n8c+dax+nvme+mic+dimms.tar.bz2")))
    assert list(found) == ["mlx4_0"], "scif0 is a link that leads nowhere"
    device = found["mlx4_0"]
    assert (device.pci.value, device.numa_node.value, device.netdevs.value) == ("0000:82:00.0", 1, ("ib0",))
    assert (device.board.value, device.firmware.value, device.driver.value, device.node_guid.value) == (
        "MT4099",
        "2.11.500",
        "mlx4_core",
        "0002:c903:00f9:bfa0",
    )
    (port,) = device.ports
    assert (port.active, port.physical_state.value, port.rate_gbps.value) == (True, "LinkUp", 56.0)
    assert (port.link_layer.value, port.lid.value, port.sm_lid.value) == ("InfiniBand", 0x3A4, 1)
    assert (port.pkeys, port.gid_table_length.value, port.netdevs) == ((0xFFFF,), 128, ("ib0",))
    assert [(gid.index, gid.address) for gid in port.gids] == [(0, "fe80::2:c903:f9:bfa1")]
    assert (port.counters.source, port.counters.tx_bytes.known) == ("port counters", True)
    assert (device.usable, device.why_not) == (True, "")


def test_the_capture_of_three_drivers(capture: Callable[[str], Path]) -> None:
    found = devices_of(HostFiles(capture("procfs-sysfs/fixtures.ttar")))
    assert list(found) == ["hfi1_0", "mlx4_0", "mlx5_0"]
    assert found["hfi1_0"].board.otherwise("").startswith("HPE 100Gb 1-port OP101")
    assert {name: device.firmware.value for name, device in found.items()} == {
        "hfi1_0": "1.27.0",
        "mlx4_0": "2.31.5050",
        "mlx5_0": "14.28.2006",
    }
    assert (found["mlx5_0"].node_guid.value, found["hfi1_0"].node_guid.known) == ("0a7f:bc12:45ef:d23b", False)
    assert [port.rate_gbps.value for port in found["mlx4_0"].ports] == [40.0, 40.0]
    assert [port.link_layer.value for port in found["mlx4_0"].ports] == ["InfiniBand", "InfiniBand"]
    assert [port.rate_gbps.value for port in found["hfi1_0"].ports] == [100.0]
    mlx5 = found["mlx5_0"].ports[0]
    assert (mlx5.state.value, mlx5.physical_state.value, mlx5.rate_gbps.value) == ("ACTIVE", "ACTIVE", 25.0)
    # The capture has no GID tables: nobody may call these devices usable, and nobody unusable.
    assert [device.usable for device in found.values()] == [None, None, None]
