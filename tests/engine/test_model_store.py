"""What --model-path may be, and the command that prepares it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pdpanel.engine.config import Environment, read_environment
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.model import store
from pdpanel.engine.model.progress import no_progress
from pdpanel.engine.model.store import resolve_model

WriteHf = Callable[..., Path]


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return read_environment({"PDPANEL_CACHE_DIR": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"})


def test_a_gguf_file(tiny_gguf: Path, environment: Environment) -> None:
    model = resolve_model(str(tiny_gguf), environment)
    assert (model.source, model.name) == (tiny_gguf, "tiny")
    assert model.model_sha == hashlib.sha256(tiny_gguf.read_bytes()).hexdigest()
    assert model.directory.parent == environment.cache_dir / "converted"
    assert model.tokenizer_json.parent == model.directory
    assert model.shape.layers == 2
    assert model.chat_template == "{{ messages[0]['content'] }}"


def test_a_directory_of_transformers(
    tmp_path: Path, write_hf: WriteHf, tiny_model: Any, environment: Environment
) -> None:
    directory = write_hf(tmp_path / "My-Model", tiny_model)
    model = resolve_model(directory, environment)
    assert (model.source, model.name) == (directory, "My-Model")
    again = resolve_model(model.directory, environment)
    assert (again.directory, again.model_sha) == (model.directory, model.model_sha), "a converted one is taken as is"


def test_a_directory_with_one_gguf_file(tmp_path: Path, tiny_gguf: Path, environment: Environment) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ConfigError, match=r"holds no model; give one with config\.json"):
        resolve_model(folder, environment)
    shutil.copy(tiny_gguf, folder / "a.gguf")
    assert resolve_model(folder, environment).source == folder / "a.gguf"
    shutil.copy(tiny_gguf, folder / "b.gguf")
    with pytest.raises(ConfigError, match=r"holds 2 \.gguf files"):
        resolve_model(folder, environment)


@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"])
def test_a_catalogue_name_is_fetched(
    tiny_gguf: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(store, "fetch_catalog_model", lambda *_: tiny_gguf)
    assert resolve_model(name, environment).name == "SmolLM2-135M-Instruct"


def test_an_existing_path_wins_over_a_name(
    tmp_path: Path, tiny_gguf: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(tiny_gguf, "smollm2-135m-instruct")
    assert resolve_model("smollm2-135m-instruct", environment).source == Path("smollm2-135m-instruct")


@pytest.mark.parametrize("text", ["", "gpt2", "/nowhere/model", "models/none.gguf", "a/b/c", "../x", "\x00", "a" * 300])
def test_what_is_nothing_says_what_can_be_given(environment: Environment, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_model(text, environment, no_progress)
    assert "give a .gguf file, a model directory, a hub id (owner/name)" in str(caught.value)
    assert "SmolLM2-135M-Instruct" in str(caught.value)


def prepare(cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pdpanel.engine.model.prepare", *arguments]
    env = {**os.environ, "PDPANEL_CACHE_DIR": str(cache)}
    return subprocess.run(command, env=env, capture_output=True, text=True)


def test_the_command_reports_in_json_lines(tmp_path: Path, tiny_gguf: Path) -> None:
    done = prepare(tmp_path, str(tiny_gguf))
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, "")
    assert {message["stage"] for message in messages[:-1]} == {"hash", "read", "convert"}
    assert messages[-1] == {
        "directory": str(next(tmp_path.glob("converted/*-[0-9]/"))),
        "name": "tiny",
        "source": str(tiny_gguf),
        "sha256": hashlib.sha256(tiny_gguf.read_bytes()).hexdigest(),
    }


def test_the_command_refuses_with_one_sentence(tmp_path: Path) -> None:
    done = prepare(tmp_path, "gpt2")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("--model-path = 'gpt2': there is no such file, directory or model; ")
    assert prepare(tmp_path).stderr.startswith("usage: ")
