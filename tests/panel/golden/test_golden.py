"""Every published launch case, rendered from a Deployment that its inputs alone describe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pdpanel.nic_probe.finding import Severity
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.doctor.deployment import check_plan
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.plan import plan
from pdpanel.panel.render import render

from .comparison import assert_same
from .inputs import deployment_of

CASES = Path(__file__).resolve().parents[4] / "shared" / "golden" / "launch_commands.json"
# Roles of the commands that belong to no deployment: tests/panel/recipes/test_golden.py has those cases.
_RECIPES = {"setup", "slurm-submit", "parse", "install", "target", "initiator", "probe", "smoke-test"}
# A case's command names a device that its inputs leave out; they are completed.
COMPLETED: Mapping[str, Mapping[str, Any]] = {"s004-prefill-tuning-env": {"ib_devices": ["mlx5_roce0"]}}


@cache
def launches() -> dict[str, dict[str, Any]]:
    """Returns the published cases that are launches, by id; none where the folder shared is not beside the checkout."""
    if not CASES.exists():
        return {}
    cases = json.loads(CASES.read_text("utf-8"))
    return {case["id"]: case for case in cases if "engine" in case["inputs"]}


def rendered(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what `pdpanel render --json` prints for the deployment of these inputs."""
    return render(plan(parse_deployment(deployment_of(inputs)), elsewhere(), None))


@pytest.fixture(scope="module")
def cases() -> dict[str, dict[str, Any]]:
    if not launches():
        pytest.skip("shared/golden is not beside the checkout")
    return launches()


@pytest.mark.parametrize("name", launches() or ["none"])
def test_a_published_launch_is_reproduced(cases: dict[str, dict[str, Any]], name: str) -> None:
    case = cases[name]
    assert_same(rendered({**case["inputs"], **COMPLETED.get(name, {})}), case)


def test_every_other_case_is_a_recipe_or_a_lint(cases: dict[str, dict[str, Any]]) -> None:
    others = [case for case in json.loads(CASES.read_text("utf-8")) if case["id"] not in cases]
    roles = {command["role"] for case in others for command in case["commands"]}
    assert roles <= _RECIPES | {"router-expected"}


def errors(inputs: Mapping[str, Any]) -> list[str]:
    """Returns the reasons of the errors that `pdpanel render` prints."""
    found = check_plan(plan(parse_deployment(deployment_of(inputs)), elsewhere(), None))
    return [finding.reason for finding in found if finding.severity is Severity.ERROR]


def test_the_literal_experts_case_is_an_error(cases: dict[str, dict[str, Any]]) -> None:
    found = errors(cases["s003-ep-mooncake-seed-literal"]["inputs"])
    assert found and all("64 GPUs" in reason for reason in found)


@pytest.mark.parametrize("name", ["s003-ep-mooncake-dp-attention", "s003-ep-mooncake-attn-dp", "s003-1p2d"])
def test_a_case_that_is_right_is_no_error(cases: dict[str, dict[str, Any]], name: str) -> None:
    assert errors(cases[name]["inputs"]) == []


def test_an_unknown_input_is_no_field() -> None:
    with pytest.raises(KeyError, match="colour"):
        deployment_of({"engine": "sglang", "model": "m", "colour": "red"})
