"""The published cases that belong to no deployment, each mapped to a recipe by its inputs alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.recipes.catalog import RECIPES, render_recipe
from pdpanel.panel.recipes.recipe import Recipe

CASES = Path(__file__).resolve().parents[4] / "shared" / "golden" / "launch_commands.json"
NAMES = (
    "s001-docker-build",
    "s001-sbatch-Llama-3.1-8B-Instruct",
    "s001-sbatch-Llama-3.1-405B-Instruct-FP8-KV",
    "s001-sbatch-amd-Llama-3.3-70B-Instruct-FP8-KV",
    "s001-sbatch-Qwen3-32B",
    "s001-post-run",
    "s001-current-1p1d",
    "s004-install-mooncake",
    "x-te-bench",
)


def recipe_of(inputs: Mapping[str, Any]) -> tuple[Recipe, list[str]]:
    """Returns the one recipe that takes these inputs, and its settings."""
    fitting = [recipe for recipe in RECIPES if set(inputs) <= {parameter.name for parameter in recipe.parameters}]
    (recipe,) = fitting
    values = {key: ",".join(value) if isinstance(value, list) else str(value) for key, value in inputs.items()}
    return recipe, [f"{key}={value}" for key, value in values.items()]


def comparable(command: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a command with `python` and `python3` made equal; the order of options is compared, too."""
    argv = list(command["argv"])
    if argv[0] == "python":
        argv[0] = "python3"
    return {**command, "argv": argv}


@pytest.fixture(scope="module")
def cases() -> dict[str, dict[str, Any]]:
    if not CASES.exists():
        pytest.skip("shared/golden is not beside the checkout")
    return {case["id"]: case for case in json.loads(CASES.read_text("utf-8"))}


@pytest.mark.parametrize("name", NAMES)
def test_a_published_case_is_reproduced(cases: dict[str, dict[str, Any]], name: str) -> None:
    case = cases[name]
    rendered = render_recipe(*recipe_of(case["inputs"]))
    assert [comparable(command.document()) for command in rendered.commands] == list(map(comparable, case["commands"]))
    assert dict(rendered.env) == case["env"]
    assert dict(rendered.files) == case["files"]


def test_no_other_case_is_one_for_a_recipe(cases: dict[str, dict[str, Any]]) -> None:
    known = {"setup", "slurm-submit", "parse", "install", "target", "initiator", "probe"}
    found = {name for name, case in cases.items() if known & {command["role"] for command in case["commands"]}}
    assert found == set(NAMES)


def test_the_mapping_knows_what_no_recipe_takes() -> None:
    with pytest.raises(ValueError, match="unpack"):
        recipe_of({"model_path": "m"})
    with pytest.raises(ConfigError, match="nodes"):
        render_recipe(*recipe_of({"xP": 1, "yD": 1, "model_name": "m"}))
