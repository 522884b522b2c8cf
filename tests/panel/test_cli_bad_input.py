"""The command line with input that cannot be used: one sentence, exit code 2, and nothing on stdout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pdpanel.panel.deployment import parse_deployment
from pdpanel.presets import load_preset

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
}
SUGGEST = ("plan", "--suggest", "config.json", "--prompt", "100", "--output", "10", "--gpus", "8", "--gpu", "h100")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "my.yaml").write_text("{engine: sglang, model: m, prefill: {count: 1}, decode: {count: 1}}")
    os.mkfifo(tmp_path / "fifo")
    return tmp_path


def pdpanel(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PDPANEL_STATE_DIR": str(folder / "state"), "PDPANEL_CONFIG_DIR": str(folder / "config")}
    command = [sys.executable, "-m", "pdpanel.panel.cli", *arguments]
    return subprocess.run(
        command, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=50, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("plan", "my.yaml", "--config", "fifo"), "is a named pipe"),
        (("plan", "my.yaml", "--rate", "nan"), "--rate = nan: is no rate"),
        ((*SUGGEST, "--nic-gbps", "nan"), "--nic-gbps = nan"),
        ((*SUGGEST, "--link-gbps", "inf"), "--link-gbps = inf"),
        ((*SUGGEST, "--top", "0"), "--top = 0"),
        (("flags", "--version", "newest"), "--version = 'newest': is not a version"),
        (("--state-dir", "/proc/nowhere", "up", "--yes", "my.yaml"), "--state-dir"),
        (("up", "my.yaml"), "add --yes"),
    ],
)
def test_one_sentence_and_exit_code_2(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    done = pdpanel(folder, *arguments)
    assert done.returncode == 2, done
    assert said in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize("command", ["render", "export"])
def test_equal_input_gives_equal_bytes_whatever_the_hash_seed(
    folder: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[bytes] = []
    for seed in ("0", "1"):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        rest = ["--json"] if command == "render" else ["--zip", f"{seed}.zip"]
        done = pdpanel(folder, command, "my.yaml", *rest)
        assert done.returncode == 0, done.stderr
        answers.append(done.stdout.encode() if command == "render" else (folder / f"{seed}.zip").read_bytes())
    assert answers[0] == answers[1]


def test_a_full_disk_is_one_sentence(folder: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "pdpanel.panel.cli", "schema"],
            cwd=folder,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=50,
            check=False,
        )
    assert done.returncode == 2
    assert "output = 'standard output': No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_one_preset_as_json_is_a_deployment(folder: Path) -> None:
    done = pdpanel(folder, "presets", "smollm2-1p1d", "--json")
    assert parse_deployment(json.loads(done.stdout)) == parse_deployment(load_preset("smollm2-1p1d"))


def test_a_reader_that_goes_away_is_no_error_to_talk_about(folder: Path) -> None:
    command = [sys.executable, "-m", "pdpanel.panel.cli", "schema"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as started:
        assert started.stdout is not None and started.stderr is not None
        started.stdout.close()
        assert b"Traceback" not in started.stderr.read()
        started.wait(timeout=50)
