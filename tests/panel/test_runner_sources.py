from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from pdpanel.nic_probe.gpu_use import GpuUse
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.launch import LaunchPlan
from pdpanel.panel.plan import RunIds, plan
from pdpanel.panel.rundir import RunDir
from pdpanel.panel.runner.gpu_source import GpuSource
from pdpanel.panel.runner.host_source import HostSource, memory_total
from pdpanel.panel.runner.link_source import LinkSource, link_limits, wanted_links
from pdpanel.panel.runner.series import gpu_memory_series, known_series
from pdpanel.panel.runner.sources import sources_of
from simulated_node import grow_node


def launch(nics: tuple[str, ...] = (), gpus: tuple[str, ...] = ()) -> LaunchPlan:
    deployment = parse_deployment({"model": "m", "prefill": {"count": 1}, "decode": {"count": 1}})
    made = plan(deployment, HostFacts("n", 2, "py"), RunIds("r", "/r", "/c"))
    return replace(made, processes=tuple(replace(spec, nics=nics, gpus=gpus) for spec in made.processes))


def test_the_nics_of_the_plan_are_sampled_and_all_that_are_active_without_one(tmp_path: Path) -> None:
    node = grow_node(tmp_path, gpus=0, nics=3, gids=1)
    (node.root / "sys/class/infiniband/mlx5_2/ports/1/state").write_text("1: DOWN\n")
    files = HostFiles(node.root)

    def keys(*nics: str) -> set[str]:
        return {key for _, found in wanted_links(launch(nics), files) for key in found if key.startswith("nic/")}

    assert keys("mlx5_1") == {"nic/mlx5_1:1"}
    assert keys() == keys("of_another_host") == {"nic/mlx5_0:1", "nic/mlx5_1:1"}


def test_ports_count_words_and_have_a_line_rate(tmp_path: Path) -> None:
    node = grow_node(tmp_path, gpus=0, nics=1, gids=1)
    files = HostFiles(node.root)
    device, keys = wanted_links(launch(("mlx5_0",)), files)[0]
    limits = {limit.key: limit.limit for limit in link_limits(keys, files)}
    assert limits["nic/mlx5_0:1"] == 400 * 125e6
    source = LinkSource(device, keys, files, str(node.root))
    try:
        assert source.read() == {}
        path = node.root / "sys/class/infiniband/mlx5_0/ports/1/counters/port_xmit_data"
        path.write_text(str(int(path.read_text()) + 1_000_000))
        values = source.read()
    finally:
        source.close()
    assert values["nic/mlx5_0:1/tx_bytes_per_s"] > 0
    assert values["nic/mlx5_0:1/rx_bytes_per_s"] == 0


def test_a_plan_gets_its_sources_and_their_series(tmp_path: Path) -> None:
    node = grow_node(tmp_path, gpus=0, nics=2, gids=1)
    found = sources_of(launch(("mlx5_0",), ("0",)), RunDir(tmp_path / "run"), {}, HostFiles(node.root))
    names = [source.name for source in found.followed]
    assert "host" in names and "GPUs" in names and "Mooncake's logs" in names and "links of mlx5_0" in names
    assert found.series["nic/mlx5_0:1/rx_bytes_per_s"].limit == 400 * 125e6
    assert found.series["run/kv_bytes_per_s"].limit == 400 * 125e6
    assert found.series["host/memory_bytes"].limit == memory_total()


def test_cpu_and_memory_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2 3 4\n")
    (tmp_path / "meminfo").write_text("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  400 kB\n")
    source = HostSource(tmp_path)
    assert source.read() == {"host/memory_bytes": 600 * 1024}
    (tmp_path / "stat").write_text("cpu  150 0 150 1300 100 0 0 0 50 0\n")
    assert source.read()["host/cpu_percent"] == pytest.approx(100 * 100 / 700)
    (tmp_path / "stat").write_text("cpu garbage\n")
    assert "host/cpu_percent" not in source.read()


def test_the_memory_of_a_gpu_becomes_the_limit_of_its_series() -> None:
    told: list[dict[str, float]] = []
    use = GpuUse(("0", "GPU-abc"), 50.0, 1e9, 80e9)
    silent = GpuUse(("1",), 50.0, None, None)
    source = GpuSource(("GPU-abc", "1", "2"), {}, lambda sizes: told.append(dict(sizes)))
    source._uses = SimpleNamespace(read=lambda within_s: [use, silent], close=lambda: None)  # type: ignore[assignment]
    for _ in range(2):
        assert source.read()["gpu/GPU-abc/memory_bytes"] == 1e9
    assert told == [{"GPU-abc": 80e9}]
    known = known_series(launch((), ("GPU-abc", "1")), gpu_bytes=told[0])
    assert known["gpu/GPU-abc/memory_bytes"] == gpu_memory_series("GPU-abc", 80e9)
    assert (known["gpu/GPU-abc/memory_bytes"].limit, known["gpu/1/memory_bytes"].limit) == (80e9, None)


def test_without_a_driver_there_are_no_gpus_to_read() -> None:
    source = GpuSource(("0",), {"PYTHONPATH": "/nonexistent"})
    with pytest.raises(EOFError):
        for _ in range(20):
            source.read()
    source.close()
