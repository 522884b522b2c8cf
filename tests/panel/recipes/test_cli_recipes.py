from __future__ import annotations

import json
import subprocess

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.cli_recipes import recipe
from pdpanel.panel.recipes.catalog import RECIPES

SUBMIT = ["nodes=a,b,c", "model_name=Qwen3-32B"]


def test_the_list_names_every_parameter(capsys: pytest.CaptureFixture[str]) -> None:
    assert recipe(None, (), as_json=False) == 0
    text = capsys.readouterr().out
    for one in RECIPES:
        assert f"\n{one.name}: {one.title}\n" in f"\n{text}"
        entry = f"\n{text}".partition(f"\n{one.name}: ")[2].partition("\n\n")[0]
        for parameter in one.parameters:
            assert f"\n  {parameter.name} " in entry


def test_the_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert recipe(None, (), as_json=True) == 0
    listed = json.loads(capsys.readouterr().out)["recipes"]
    assert [one["name"] for one in listed] == [one.name for one in RECIPES]
    (nodes,) = [
        parameter
        for one in listed
        if one["name"] == "mad-submit"
        for parameter in one["parameters"]
        if parameter["name"] == "nodes"
    ]
    assert (nodes["kind"], nodes["required"], nodes["default"]) == ("list", True, None)


def test_json_has_the_form_of_a_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert recipe("mad-submit", SUBMIT, as_json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document) == ["files", "env", "commands", "findings"]
    (command,) = document["commands"]
    assert list(command) == ["role", "argv", "cwd"]
    assert document["env"]["MODEL_NAME"] == "Qwen3-32B"
    assert {"id", "severity", "subject", "evidence", "reason", "remedy", "corrected"} == document["findings"][0].keys()


def test_text_is_a_script_with_its_remarks(capsys: pytest.CaptureFixture[str]) -> None:
    assert recipe("mad-submit", SUBMIT, as_json=False) == 0
    text = capsys.readouterr().out
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "# WARNING mad-layout: " in text
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_among_the_findings_is_told_by_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert recipe("mad-submit", ["nodes=a,b,c", "model_name=Qwen/Qwen3-32B"], as_json=True) == 1
    severities = [finding["severity"] for finding in json.loads(capsys.readouterr().out)["findings"]]
    assert "error" in severities


def test_unusable_input_is_an_error() -> None:
    for name, settings in (("mad-submitt", []), ("mad-submit", ["xP=0"]), (None, ["xP=1"])):
        with pytest.raises(ConfigError):
            recipe(name, settings, as_json=True)
