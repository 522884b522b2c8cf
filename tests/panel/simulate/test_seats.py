from __future__ import annotations

from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.launch import Role, decode_plan, encode_plan
from pdpanel.panel.runner.state import initial_record
from pdpanel.panel.simulate.seats import refuse_other_engines, seated
from pdpanel.panel.simulate.simulation import Simulation
from pdpanel.panel.simulate.view import places_of, simulated_host
from simulated_places import launch, prepared


@pytest.fixture(scope="module")
def hgx(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    return prepared(tmp_path_factory.mktemp("state"), "hgx-8")


def test_each_worker_has_a_gpu_and_its_nearest_nic(hgx: Simulation) -> None:
    made = seated(launch(2, 2), hgx)
    assert made.simulated and decode_plan(encode_plan(made)) == made
    shown = {spec.name: (spec.gpus, spec.nics) for spec in made.processes}
    assert shown == {
        "prefill-0": (("0",), ("mlx5_0",)),
        "prefill-1": (("1",), ("mlx5_1",)),
        "decode-0": (("2",), ("mlx5_2",)),
        "decode-1": (("3",), ("mlx5_3",)),
        "router": ((), ()),
    }
    assert places_of(made) == {name: f"GPU {g[0]}, {n[0]}" for name, (g, n) in shown.items() if g}


def test_commands_stay_as_they_are_but_for_the_threads(hgx: Simulation) -> None:
    before = launch(2, 2)
    after = seated(before, hgx)
    assert [spec.argv for spec in after.processes] == [spec.argv for spec in before.processes]
    assert {spec.env["OMP_NUM_THREADS"] for spec in after.processes} == {"1"}
    assert not any("CUDA" in name for spec in after.processes for name in spec.env)


def test_nothing_of_this_hosts_gpus_is_waited_for(hgx: Simulation) -> None:
    record = initial_record("r", seated(launch(), hgx), 0.0, "boot")
    assert record.simulated
    assert all(process.gpus == () for process in record.processes)


def test_tcp_names_no_nic(hgx: Simulation) -> None:
    made = seated(launch(transport="tcp"), hgx)
    assert {spec.nics for spec in made.processes} == {()}
    assert [spec.gpus for spec in made.processes if spec.role is Role.DECODE] == [("1",)]


def test_gpus_of_other_runs_are_left_alone(hgx: Simulation) -> None:
    made = seated(launch(), hgx, {"0", "1", "3"})
    assert [gpu for spec in made.processes for gpu in spec.gpus] == ["4", "2"]
    with pytest.raises(ConfigError, match="2 workers, and 1 of 8 simulated GPUs are free; ask for fewer workers, or"):
        seated(launch(), hgx, {str(number) for number in range(7)})


def test_another_engine_is_planned_and_not_started(hgx: Simulation) -> None:
    plan = launch(transport="mooncake", engine="sglang")
    assert [spec.argv for spec in seated(plan, hgx).processes] == [spec.argv for spec in plan.processes]
    with pytest.raises(ConfigError, match="SIMULATED host hgx-8, which starts only the bundled engine"):
        refuse_other_engines(plan, hgx)
    refuse_other_engines(launch(), hgx)


def test_the_page_is_told_what_is_suggested(hgx: Simulation, tmp_path: Path) -> None:
    told = simulated_host(hgx)
    assert (told.prefill, told.decode, told.gpus, told.placed) == (2, 2, 8, "GPUs 0 to 3 with mlx5_0 to mlx5_3")
    small = simulated_host(prepared(tmp_path))
    assert (small.prefill, small.decode, small.placed) == (1, 1, "GPUs 0 to 1 with mlx5_0")
