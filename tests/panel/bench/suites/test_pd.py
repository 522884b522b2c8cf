"""The short form measures the three deployments on real runs with a small model; its figures are complete."""

from __future__ import annotations

from pathlib import Path

import pytest
from pdpanel.panel.bench.suite import SuiteOptions, measure
from pdpanel.panel.bench.suites.pd_deployments import deployments_of
from pdpanel.panel.bench.suites.pd_plan import MIXED, OURS, PREFILL_FIRST, plan_of, seed_of
from pdpanel.panel.config import read_config
from pdpanel.panel.runner.lifecycle import RunState
from pdpanel.panel.runs import Runs

METRICS = {
    "itl_mean", "itl_p50", "itl_p90", "itl_p99", "itl_max", "ttft_mean", "ttft_p99", "output_tokens_per_s", "goodput",
}  # fmt: skip


def test_one_pair_is_held_against_both_kinds_of_unified_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = read_config({}, state_dir=tmp_path / "state", cache_dir=tmp_path / "cache")
    monkeypatch.setenv("PDPANEL_CACHE_DIR", str(config.cache_dir))
    runs = Runs(config)
    found = list(measure("pd", SuiteOptions(short=True), runs, lambda text: None))
    for peer in (PREFILL_FIRST, MIXED):
        case = {one.metric: one for one in found if one.case == "prompt=48,load=50" and one.peer == peer}
        assert {*case} == METRICS
        for name in ("itl_mean", "itl_max", "ttft_mean", "output_tokens_per_s"):  # a median gap may be 0: read at once
            assert case[name].value > 0 and case[name].peer_value, name
        assert case["itl_p50"].value <= case["itl_p99"].value <= case["itl_max"].value
        assert case["itl_mean"].goal and case["itl_p99"].goal and case["ttft_mean"].goal
        assert "first token within" in case["goodput"].note and "requests a round" in case["itl_mean"].note
    most = {one.peer: one for one in found if one.metric == "saturation_tokens_per_s"}
    assert {*most} == {PREFILL_FIRST, MIXED} and all(one.value > 0 and one.goal for one in most.values())
    (share,) = [one for one in found if one.metric == "kv_gap_share"]
    assert share.case == "prompt=64,load=alone" and len(share.values) == 2 and share.goal
    assert {view.state for view in runs.list()} == {RunState.STOPPED}, "something was left running"


def test_the_deployments_differ_in_roles_and_steps_alone() -> None:
    found = deployments_of(plan_of(SuiteOptions()), "smollm2-135m-instruct")
    assert {name: (one.prefill.count, one.decode.count, one.unified.count) for name, one in found.items()} == {
        OURS: (1, 1, 0), PREFILL_FIRST: (0, 0, 2), MIXED: (0, 0, 2),
    }  # fmt: skip
    mixed = dict(found[MIXED].workers.flags)
    assert mixed.pop("enable-mixed-chunk") is True and int(str(mixed.pop("chunked-prefill-size"))) > 32
    assert mixed == found[OURS].workers.flags == found[PREFILL_FIRST].workers.flags


def test_goals_are_measured_at_half_load_of_each_prompt_and_cases_can_be_chosen() -> None:
    usual = {case.name for case in plan_of(SuiteOptions()).cases}
    assert {f"prompt={prompt},load=50" for prompt in (256, 1024, 2048)} <= usual
    assert {"prompt=1024,load=25", "prompt=1024,load=80"} <= usual
    chosen = plan_of(SuiteOptions(only=("prompt=2048,load=80",)))
    assert [case.name for case in chosen.cases] == ["prompt=2048,load=80"] and not chosen.gap_prompt
    gap = plan_of(SuiteOptions(only=("prompt=2048,load=alone",)))
    assert not gap.cases and gap.gap_prompt == 2048


def test_no_prompt_comes_twice() -> None:
    plan = plan_of(SuiteOptions(only=("prompt",)))
    seeds = [seed_of(seed, case, round_) for seed in range(3) for case in plan.cases for round_ in range(9)]
    assert len(seeds) == len({*seeds})
