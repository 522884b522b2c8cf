from __future__ import annotations

from pathlib import Path
from typing import Any

from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.panel.proof.host_counters import HostCounters
from pdpanel.panel.proof.verdict import Counter
from rdma_tree import INFINIBAND, ROCE, V1, gid_table, memory_tree, netdev, rdma_device, rdma_port, software_device
from simulated_node import grow_node

WORDS: dict[str, Any] = {"counters__port_xmit_data": "250\n", "counters__port_rcv_data": "500\n"}
LO = {"sys/class/net/lo/statistics/tx_bytes": "7\n", "sys/class/net/lo/statistics/rx_bytes": "9\n"}


def test_ports_count_words_of_four_bytes(tmp_path: Path) -> None:
    node = grow_node(tmp_path, gpus=0, nics=2, gids=4)
    counters = HostCounters(HostFiles(node.root))
    port = node.root / "sys/class/infiniband/mlx5_0/ports/1/counters"
    before = counters.read()["rdma/mlx5_0:1"]
    (port / "port_xmit_data").write_text(str(int((port / "port_xmit_data").read_text()) + 1_000_000))
    after = counters.read()["rdma/mlx5_0:1"]
    assert before.total is not None and after.total is not None
    assert (after.total[0] - before.total[0], after.total[1] - before.total[1]) == (4_000_000, 0)
    assert after.fabric == "RoCE v2"


def test_the_fabric_of_a_port() -> None:
    def fabric(files: dict[str, str]) -> str:
        found = HostCounters(HostFiles(memory_tree(files | LO))).read()
        return next(one.fabric for one in found.values() if one.kind is Counter.RDMA)

    old = gid_table({0: ("fe80:0000:0000:0000:0a00:27ff:fe00:0001\n", V1, "eth2")})
    assert fabric(rdma_device("mlx5_0", {1: rdma_port(ROCE, **WORDS)})) == "RoCE v2"
    assert fabric(rdma_device("mlx5_0", {1: rdma_port(old, **WORDS)})) == "RoCE v1"
    assert fabric(rdma_device("mlx5_0", {1: rdma_port(**INFINIBAND, **WORDS)})) == "InfiniBand"
    assert fabric(rdma_device("i40iw0", {1: rdma_port(ROCE, **WORDS)}, node_type="4: RNIC")) == "iWARP"


def test_a_port_with_the_counters_of_its_interface_alone_is_no_rdma_counter() -> None:
    """They include traffic that is not RDMA: the interface has them under its own name."""
    place = "sys/devices/virtual/net/eth0/statistics"
    files = netdev("eth0") | {f"{place}/tx_bytes": "5\n", f"{place}/rx_bytes": "6\n"}
    files |= software_device("siw0", "eth0", "4: RNIC", {1: rdma_port(ROCE)}) | LO
    files["proc/net/route"] = "Iface Destination\neth0 00000000\n"
    found = HostCounters(HostFiles(memory_tree(files))).read()
    assert set(found) == {"netdev/eth0", "loopback/lo"}
    assert found["netdev/eth0"].total == (5, 6)


def test_what_cannot_be_read_says_why() -> None:
    files = rdma_device("mlx5_0", {1: rdma_port(ROCE)}) | LO
    port = HostCounters(HostFiles(memory_tree(files))).read()["rdma/mlx5_0:1"]
    assert port.total is None and port.reason
