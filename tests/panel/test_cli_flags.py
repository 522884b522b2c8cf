"""`pdpanel flags`: the options of a release or of an installed engine, and what a deployment has that is not there."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from pdpanel.panel.cli import app
from pdpanel.panel.flags.program import program_of
from typer.testing import CliRunner, Result

DEPLOYMENT = """
engine: sglang
engine_version: 0.5.23
model: m
prefill: {count: 1, flags: {stream-output: true}}
decode: {count: 1}
router: {kind: sglang-router}
"""


@pytest.fixture
def deployment(tmp_path: Path) -> Path:
    path = tmp_path / "deployment.yaml"
    path.write_text(DEPLOYMENT)
    return path


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """An interpreter that has an engine of our own installed; its package cannot be imported."""
    package = tmp_path / "site" / "sglang"
    (package / "srt").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('this must not run')")
    options = ("--model-path", "--disaggregation-mode", "--port", "--base-gpu-id", "--stream-output")
    (package / "srt" / "server_args.py").write_text("\n".join(f'p.add_argument("{option}")' for option in options))
    (tmp_path / "site" / "sglang-0.5.9.dist-info").mkdir()
    python = tmp_path / "python"
    # -I keeps PYTHONPATH out, so the place is put in by hand.
    insert = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); "
    python.write_text(f'#!/bin/sh\nshift; shift; code=$1; shift\nexec {sys.executable} -I -c "{insert}$code" "$@"\n')
    python.chmod(0o755)
    return python


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["flags", *map(str, arguments)])


def test_the_options_of_a_release() -> None:
    result = _run("--version", "0.5.9")
    assert result.exit_code == 0
    assert "--stream-output  [switch]" in result.output
    assert "--attn-dp-size" not in result.output
    assert "--enable-dp-attention  [switch; deprecated since 0.5.22" in _run("--version", "0.5.23").output


def test_the_options_as_json() -> None:
    document = json.loads(_run("--engine", "sglang-router", "--json").output)
    assert (document["engine"], document["version"]) == ("sglang-router", "0.3.2")
    assert {"name": "--policy", "kind": "value", "alias_of": "", "deprecated": "", "instead": ""} in document["options"]
    assert document["findings"] == []


def test_an_installed_engine_is_read_and_not_run(engine: Path) -> None:
    document = json.loads(_run("--python", engine, "--json").output)
    assert document["version"] == "0.5.9"
    assert "--base-gpu-id" in {option["name"] for option in document["options"]}


def test_a_deployment_is_judged_by_the_engine_at_hand(engine: Path, deployment: Path) -> None:
    result = _run("--python", engine, "--json", deployment)
    assert result.exit_code == 1
    findings = {finding["subject"]: finding for finding in json.loads(result.output)["findings"]}
    assert findings["prefill-0: --incremental-streaming-output"]["corrected"] == "--stream-output"
    assert "prefill-0: --port" not in findings
    assert {finding["severity"] for finding in findings.values()} == {"error"}


def test_a_deployment_in_the_words_of_its_release_is_fine(deployment: Path) -> None:
    for name in ("sglang", "sglang-router"):
        result = _run("--engine", name, deployment)
        assert result.exit_code == 0, result.output
    assert _run("--version", "0.5.23", deployment).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--engine", "tgi"], "sglang, sglang-router, vllm"),
        (["--python", "/nowhere/python"], "working Python"),
        (["--python", sys.executable, "--engine", "vllm"], "no vllm installed"),
        (["--python", sys.executable, "--version", "0.5.9"], "leave one of the two out"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], words: str) -> None:
    result = _run(*arguments)
    assert words in str(result.exception)


@pytest.mark.parametrize(
    ("command", "engine", "first"),
    [
        ("python3 -m sglang.launch_server --port 1", "sglang", "--port"),
        ("docker run --rm image python -m sglang.launch_server --port 1", "sglang", "--port"),
        ("/venv/bin/sglang serve --port 1", "sglang", "--port"),
        ("python3 -m sglang_router.launch_router --port 1", "sglang-router", "--port"),
        ("smg launch --port 1", "sglang-router", "--port"),
        ("vllm serve model --port 1", "vllm", "model"),
        ("python3 -m vllm.entrypoints.openai.api_server --model m", "vllm", "--model"),
        ("python3 -m vllm.entrypoints.cli.main serve model", "vllm", "model"),
    ],
)
def test_the_program_of_a_command(command: str, engine: str, first: str) -> None:
    program = program_of(command.split())
    assert program is not None
    assert (program[0], program[1][0]) == (engine, first)


@pytest.mark.parametrize("command", ["", "etcd", "python3 -m http.server", "vllm bench", "smg"])
def test_another_program(command: str) -> None:
    assert program_of(command.split()) is None
