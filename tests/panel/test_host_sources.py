"""The devices of a host as something that can be asked again and again."""

from __future__ import annotations

from pathlib import Path

import pytest
from pdpanel.nic_probe.counters_by_device import counted_devices
from pdpanel.nic_probe.device_counters import DeviceCounters
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.panel.web.host_sources import this_host_sources
from simulated_node import grow_node, write_tree


def test_the_counters_of_a_device_become_rates(tmp_path: Path) -> None:
    node = grow_node(tmp_path, gpus=0, nics=2, gids=4, numa_nodes=1)
    files = HostFiles(node.root)
    devices = counted_devices(files)
    assert [device.keys for device in devices] == [("mlx5_0:1", "eth1"), ("mlx5_1:1", "eth2"), ("eth0", "lo")]
    source = DeviceCounters(devices[0], files, str(node.root))
    try:
        assert source.read() is None, "one sample makes no rate"
        path = node.root / "sys/class/infiniband/mlx5_0/ports/1/counters/port_xmit_data"
        path.write_text(str(int(path.read_text()) + 1_000_000))
        answer = source.read()
    finally:
        source.close()
    assert answer is not None
    assert (answer["mlx5_0:1"].tx.value or 0) > 0
    assert answer["mlx5_0:1"].rx.value == 0.0
    assert answer["eth1"].source == "netdev"


def test_a_device_is_not_asked_faster_than_it_refreshes(tmp_path: Path) -> None:
    node = grow_node(tmp_path, gpus=0, nics=1, gids=1, nic_driver="bnxt_en")
    lifespan = node.root / "sys/class/infiniband/bnxt_re0/ports/1/hw_counters/lifespan"
    lifespan.write_text("400\n")
    files = HostFiles(node.root)
    source = DeviceCounters(counted_devices(files)[0], files, str(node.root))
    source.read()
    source.close()
    assert source.period_s == 0.4


def test_a_driver_that_is_loaded_anew_is_asked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdpanel.nic_probe.device_counters._ASK_AGAIN_S", 0.0)
    node = grow_node(tmp_path, gpus=0, nics=1, gids=1)
    files = HostFiles(node.root)
    source = DeviceCounters(counted_devices(files)[0], files, str(node.root))
    try:
        source.read()
        assert source.read() is not None, "the same files stay open"
        monkeypatch.setattr("pdpanel.nic_probe.device_counters.counted_links", lambda *_: ())
        assert source.read() is None, "other files begin anew"
        assert source.read() == {}
    finally:
        source.close()


def test_nvml_is_asked_where_its_driver_is_loaded_alone(tmp_path: Path) -> None:
    write_tree(tmp_path / "without", {"sys/class/net/lo/statistics/tx_bytes": "1"})
    write_tree(tmp_path / "with", {"proc/driver/nvidia/version": "NVRM version: 570"})
    assert [source.name for source in this_host_sources(HostFiles(tmp_path / "without"))] == ["lo"]
    (gpus,) = this_host_sources(HostFiles(tmp_path / "with"))
    assert (gpus.name, gpus.counts, gpus.keys()) == ("gpus", False, ())
    gpus.close()
