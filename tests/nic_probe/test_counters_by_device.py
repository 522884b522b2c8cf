"""Which links are counted, and by which device."""

from __future__ import annotations

from pathlib import Path

from pdpanel.nic_probe.counters_by_device import counted_devices, counted_links
from pdpanel.nic_probe.sources.files import HostFiles
from simulated_node import grow_node, write_tree


def test_each_nic_goes_with_its_interface_and_the_others_together(tmp_path: Path) -> None:
    files = HostFiles(grow_node(tmp_path, gpus=0, nics=2, gids=1).root)
    devices = counted_devices(files)
    assert [device.name for device in devices] == ["mlx5_0", "mlx5_1", "eth0"]
    assert devices[0].keys == ("mlx5_0:1", "eth1")
    assert devices[2].keys == ("eth0", "lo")
    assert [link.rate_path for link in counted_links(files, devices[0])] == [
        "sys/class/infiniband/mlx5_0/ports/1/rate",
        "",
    ]


def test_interfaces_of_containers_are_left_out(tmp_path: Path) -> None:
    tree = {f"sys/class/net/veth{n}/statistics/tx_bytes": "1" for n in range(100)}
    tree |= {"sys/class/net/lo/statistics/tx_bytes": "1", "sys/class/net/bond0/statistics/tx_bytes": "1"}
    tree |= {"sys/class/net/bond0/bonding/mode": "802.3ad 4", "sys/class/net/bonding_masters": "bond0"}
    tree["proc/net/route"] = "Iface\tDestination\nveth7\t00000000"
    write_tree(tmp_path, tree)
    (device,) = counted_devices(HostFiles(tmp_path))
    assert device.keys == ("bond0", "lo", "veth7")


def test_a_host_without_interfaces_has_no_device(tmp_path: Path) -> None:
    assert counted_devices(HostFiles(tmp_path)) == ()


def test_software_rdma_is_counted_by_the_interface_that_it_names(tmp_path: Path) -> None:
    rxe = "sys/devices/virtual/infiniband/rxe0"
    statistics = {f"sys/class/net/eth9/statistics/{name}_bytes": "5\n" for name in ("tx", "rx")}
    files = {f"{rxe}/parent": "eth9\n", f"{rxe}/ports/1/state": "4: ACTIVE\n", f"{rxe}/ports/1/rate": "2.5 Gb/sec\n"}
    write_tree(tmp_path, files | statistics | {"sys/class/infiniband/rxe0": f"-> ../../../{rxe}"})
    host = HostFiles(tmp_path)
    (device,) = counted_devices(host)
    (link,) = counted_links(host, device)
    assert link.sources.kind == "netdev eth9 (includes non-RDMA)"


def test_the_ports_of_a_card_have_their_own_interfaces(tmp_path: Path) -> None:
    place = "sys/devices/pci0000:00/0000:18:00.0"
    tree = {f"{place}/infiniband/mlx4_0/ports/{port}/state": "4: ACTIVE\n" for port in (1, 2)}
    tree[f"{place}/infiniband/mlx4_0/device"] = "-> ../../../0000:18:00.0"
    tree["sys/class/infiniband/mlx4_0"] = f"-> ../../../{place}/infiniband/mlx4_0"
    for index in (0, 1):
        net = f"{place}/net/eth{index}"
        tree |= {f"{net}/dev_port": f"{index}\n", f"{net}/device": "-> ../../../0000:18:00.0"}
        tree |= {f"{net}/statistics/{name}_bytes": "1\n" for name in ("tx", "rx")}
        tree[f"sys/class/net/eth{index}"] = f"-> ../../../{place}/net/eth{index}"
    write_tree(tmp_path, tree)
    files = HostFiles(tmp_path)
    (device,) = counted_devices(files)
    assert device.keys == ("mlx4_0:1", "mlx4_0:2", "eth0", "eth1")
    kinds = [link.sources.kind for link in counted_links(files, device)]
    assert kinds[:2] == [f"netdev eth{index} (includes non-RDMA)" for index in (0, 1)]
