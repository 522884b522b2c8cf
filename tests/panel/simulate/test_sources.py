from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from pdpanel.panel.rundir import RunDir
from pdpanel.panel.runner.sources import sources_of
from pdpanel.panel.simulate.seats import seated
from pdpanel.panel.simulate.simulation import Simulation
from pdpanel.panel.simulate.sources import EngineTraffic, SimulatedGpus
from simulated_places import launch, prepared


class Sent:
    def __init__(self) -> None:
        self.sent: list[tuple[object, ...]] = []
        self.ticks = 0

    def send(self, *values: object) -> None:
        self.sent.append(values)

    def tick(self) -> None:
        self.ticks += 1


@pytest.fixture(scope="module")
def hgx(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    return prepared(tmp_path_factory.mktemp("state"), "hgx-8")


def traffic(hgx: Simulation, totals: Mapping[tuple[str, str], float], **more: Any) -> tuple[EngineTraffic, Sent]:
    sent = Sent()
    plan = seated(launch(2, 2, **more), hgx)
    return EngineTraffic(plan, hgx, lambda: totals, cast(Any, sent)), sent


def test_each_link_moves_its_own_pair_of_nics(hgx: Simulation) -> None:
    port = next(spec.ports["http"] for spec in launch(2, 2).processes if spec.name == "decode-1")
    totals: dict[tuple[str, str], float] = {}
    source, sent = traffic(hgx, totals)
    assert source.read() == {}
    totals["prefill-0", f"127.0.0.1:{port}"] = 100.0
    source.read()
    totals["prefill-0", f"127.0.0.1:{port}"] = 250.0
    source.read()
    source.read()
    assert sent.sent == [(("mlx5_0",), ("mlx5_3",), 100.0), (("mlx5_0",), ("mlx5_3",), 150.0)]
    assert sent.ticks == 4


def test_a_worker_that_was_started_again_counts_from_nothing(hgx: Simulation) -> None:
    totals: dict[tuple[str, str], float] = {}
    source, sent = traffic(hgx, totals)
    source.read()
    totals["prefill-1", ""] = 100.0
    source.read()
    totals["prefill-1", ""] = 30.0
    source.read()
    assert [values[2] for values in sent.sent] == [100.0, 30.0]
    assert sent.sent[0][:2] == (("mlx5_1",), ("mlx5_2",))


def test_a_runner_that_takes_a_run_over_counts_nothing_twice(hgx: Simulation) -> None:
    totals = {("prefill-0", ""): 100.0}
    source, sent = traffic(hgx, totals)
    source.read()
    totals["prefill-0", ""] = 130.0
    source.read()
    assert [values[2] for values in sent.sent] == [30.0]


def test_shared_memory_moves_no_link(hgx: Simulation) -> None:
    source, sent = traffic(hgx, {("prefill-0", ""): 100.0}, transport="shm")
    source.read()
    assert (sent.sent, sent.ticks) == ([], 1)


def test_gpus_follow_their_workers(hgx: Simulation) -> None:
    rows = {"proc/prefill-0/cpu_percent": 180.0, "proc/prefill-0/rss_bytes": 1.0, "proc/decode-0/cpu_percent": 20.0}
    values = SimulatedGpus(seated(launch(), hgx), hgx, lambda: rows).read()
    assert (values["gpu/0/util_percent"], values["gpu/1/util_percent"]) == (100.0, 20.0)
    assert values["gpu/1/memory_bytes"] < 1e9 < values["gpu/0/memory_bytes"] < hgx.seats[0].memory_bytes


def test_a_runner_samples_the_simulated_host_and_no_driver(hgx: Simulation, tmp_path: Path) -> None:
    found = sources_of(seated(launch(2, 2), hgx), RunDir(tmp_path), {}, simulation=hgx)
    names = [source.name for source in found.followed]
    assert {f"links of mlx5_{number}" for number in range(4)} <= set(names)
    assert "nic/mlx5_4:1/tx_bytes_per_s" not in found.series
    gpus = next(source for source in found.followed if source.name == "GPUs")
    assert isinstance(gpus, SimulatedGpus)
    assert found.series["nic/mlx5_0:1/tx_bytes_per_s"].limit == 50e9
    for source in found.followed:
        source.close()
