"""The cache of conversions: reuse, concurrency, damage, memory, refusals."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.model.convert import convert
from pdpanel.engine.model.converted import FORMAT, ensure_converted, find_converted, index_file, open_converted
from pdpanel.engine.model.progress import Progress, no_progress
from pdpanel.engine.text.tokenizer import Tokenizer
from safetensors.numpy import load_file

WriteGguf = Callable[..., Path]


@pytest.fixture
def forbid_children(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a child was started")

    return lambda: monkeypatch.setattr(subprocess, "Popen", refuse)


def child(path: Path, cache: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pdpanel.engine.model.convert", str(path), str(cache)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def messages(lines: Iterator[str] | list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def test_a_conversion_holds_everything_and_its_second_use_starts_no_child(
    tmp_path: Path, tiny_gguf: Path, tiny_model: Any, forbid_children: Callable[[], None]
) -> None:
    seen: list[Progress] = []
    directory = ensure_converted(tiny_gguf, tmp_path, seen.append)
    assert [p.stage for p in seen if p.done == p.total > 0] == ["hash", "convert"]
    model = open_converted(directory)
    assert model is not None
    assert sorted(p.name for p in directory.iterdir()) == [
        "chat_template.jinja",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "weights.safetensors",
    ]
    assert model.chat_template == "{{ messages[0]['content'] }}"
    tensors, w, p = load_file(model.weights), tiny_model.weights, "model.layers.1."
    qkv = [w[f"{p}self_attn.{kind}_proj.weight"] for kind in "qkv"]
    assert np.array_equal(tensors["layers.1.qkv"], np.concatenate(qkv))
    gate_up = [w[f"{p}mlp.gate_proj.weight"], w[f"{p}mlp.up_proj.weight"]]
    assert np.array_equal(tensors["layers.1.gate_up"], np.concatenate(gate_up))
    assert np.array_equal(tensors["layers.1.down"], w[f"{p}mlp.down_proj.weight"])
    assert "lm_head" not in tensors
    assert all(tensor.dtype == np.float32 for tensor in tensors.values())
    length = int.from_bytes(model.weights.read_bytes()[:8], "little")
    assert (8 + length) % 64 == 0
    forbid_children()
    assert ensure_converted(tiny_gguf, tmp_path) == directory


def test_the_cached_path_imports_nothing_heavy(tmp_path: Path, tiny_gguf: Path) -> None:
    ensure_converted(tiny_gguf, tmp_path)
    code = (
        "import sys; from pathlib import Path\n"
        "from pdpanel.engine.config import read_environment\n"
        "from pdpanel.engine.model.store import resolve_model\n"
        "resolve_model(sys.argv[1], read_environment({'PDPANEL_CACHE_DIR': sys.argv[2]}))\n"
        "heavy = {'numpy', 'torch', 'gguf', 'tokenizers', 'safetensors', 'huggingface_hub'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", code, str(tiny_gguf), str(tmp_path)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "[]\n"


def test_a_changed_file_is_converted_anew_and_a_copy_is_not(
    tmp_path: Path, write_gguf: WriteGguf, make_tiny_model: Callable[..., Any], tiny_model: Any
) -> None:
    path = write_gguf(tmp_path / "m.gguf", tiny_model)
    first = convert(path, tmp_path, no_progress)
    copy = tmp_path / "copy.gguf"
    shutil.copy(path, copy)
    seen: list[Progress] = []
    assert convert(copy, tmp_path, seen.append) == first
    assert {progress.stage for progress in seen} == {"hash"}
    write_gguf(path, make_tiny_model(seed=2))
    assert find_converted(path, tmp_path) is None
    second = convert(path, tmp_path, no_progress)
    assert second != first
    assert find_converted(copy, tmp_path) == open_converted(first)


def test_transformers_opens_the_directory_as_a_tokenizer(tmp_path: Path, tiny_gguf: Path) -> None:
    """Load clients and routers count tokens with what /model_info names."""
    transformers = pytest.importorskip("transformers")
    directory = convert(tiny_gguf, tmp_path, no_progress)
    theirs, ours = transformers.AutoTokenizer.from_pretrained(directory), Tokenizer.load(directory / "tokenizer.json")
    assert theirs.encode("hello world") == ours.encode("hello world")
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.model_max_length) == (1, 2, 512)
    messages = [{"role": "user", "content": "hi"}]
    assert theirs.apply_chat_template(messages, tokenize=False) == "hi"


@pytest.mark.parametrize("damage", ["weights", "tokenizer", "config", "format"])
def test_a_damaged_conversion_is_made_again(tmp_path: Path, tiny_gguf: Path, damage: str) -> None:
    directory = convert(tiny_gguf, tmp_path, no_progress)
    whole = (directory / "weights.safetensors").read_bytes()
    if damage == "weights":
        (directory / "weights.safetensors").write_bytes(whole[:-4])
    elif damage == "tokenizer":
        (directory / "tokenizer.json").unlink()
    elif damage == "config":
        (directory / "config.json").write_text('{"format": 1')
    else:
        text = (directory / "config.json").read_text()
        (directory / "config.json").write_text(text.replace(f'"format": {FORMAT}', '"format": 0'))
    assert open_converted(directory) is None
    assert convert(tiny_gguf, tmp_path, no_progress) == directory
    assert open_converted(directory) is not None
    assert (directory / "weights.safetensors").read_bytes() == whole


def test_two_workers_that_start_at_once_convert_once(tmp_path: Path, tiny_gguf: Path) -> None:
    """Both are held at the lock until both wait, so that neither can be early."""
    lock = index_file(tiny_gguf, tmp_path).with_suffix(".lock")
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        children = [child(tiny_gguf, tmp_path) for _ in range(2)]
        for process in children:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["stage"] == "wait"
    outputs = [process.communicate() for process in children]
    said = [messages(output.splitlines()) for output, _ in outputs]
    assert [process.returncode for process in children] == [0, 0], outputs
    assert said[0][-1]["directory"] == said[1][-1]["directory"]
    converted = [any(message.get("stage") == "convert" for message in each) for each in said]
    assert sorted(converted) == [False, True]


def test_what_a_killed_conversion_left_is_cleared(tmp_path: Path, tiny_gguf: Path) -> None:
    directory = convert(tiny_gguf, tmp_path, no_progress)
    left = directory.with_name(directory.name + ".tmp-1")
    left.mkdir()
    (left / "weights.safetensors").write_bytes(b"half")
    shutil.rmtree(directory)
    convert(tiny_gguf, tmp_path, no_progress)
    assert not left.exists()
    assert directory.is_dir()


def test_a_refusal_in_the_child_is_the_same_error_here(tmp_path: Path, tiny_gguf: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(tiny_gguf.read_bytes()[:5000])
    with pytest.raises(ConfigError) as caught:
        ensure_converted(path, tmp_path / "cache")
    assert (caught.value.field, caught.value.value) == ("--model-path", str(path))
    assert "truncated or damaged: it has 5000 bytes" in caught.value.problem
    assert not list((tmp_path / "cache").glob("converted/*.tmp-*"))
    process = child(path, tmp_path / "cache")
    _, errors = process.communicate()
    assert process.returncode == 2
    assert errors == f"{caught.value}\n"


@pytest.mark.parametrize(
    ("script", "words"),
    [("kill -9 $$", "ended with signal 9"), ("echo broken. >&2; exit 3", "ended with exit code 3, broken;")],
)
def test_a_child_that_dies_is_one_sentence(
    tmp_path: Path, tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    with pytest.raises(ConfigError, match=words):
        ensure_converted(tiny_gguf, tmp_path)


def test_a_full_disk_is_noticed_before_anything_is_written(
    tmp_path: Path, tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=5_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ConfigError, match=r"5 MB are free; .*PDPANEL_CACHE_DIR"):
        convert(tiny_gguf, tmp_path, no_progress)
    assert not list(tmp_path.glob(f"converted/*-{FORMAT}*/"))


def test_a_disk_that_fails_while_writing_leaves_nothing(
    tmp_path: Path, tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Iterator[int]:
        yield 1
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pdpanel.engine.model.convert.write_tensors", fail)
    with pytest.raises(ConfigError, match="No space left on device"):
        convert(tiny_gguf, tmp_path, no_progress)
    assert not list(tmp_path.glob(f"converted/*-{FORMAT}*/"))


def test_an_unreadable_path_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        convert(tmp_path / "none.gguf", tmp_path, no_progress)


def peak_mb(path: Path, cache: Path) -> float:
    """Returns the peak resident memory of a process that converts `path`."""
    code = (
        "import resource, sys; from pdpanel.engine.model.convert import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, str(path), str(cache)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stderr) / 1024


def test_memory_is_bounded_by_the_file_and_a_few_blocks(
    tmp_path: Path, write_gguf: WriteGguf, make_tiny_model: Callable[..., Any]
) -> None:
    """A tensor of 128 MiB in float32 is expanded from its 19 MB without ever being held whole."""
    model = make_tiny_model(hidden=1024, vocab=32768, heads=16, kv_heads=4, layers=1)
    blocks = np.zeros((32768, 1024 // 32 * 18), np.uint8)
    big = write_gguf(tmp_path / "big.gguf", model, quant="Q4_0", raw={"token_embd.weight": blocks})
    small = write_gguf(tmp_path / "small.gguf", make_tiny_model(vocab=32768, hidden=32), quant="Q4_0")
    base = peak_mb(small, tmp_path)
    extra = peak_mb(big, tmp_path) - base
    mapped = os.path.getsize(big) / 2**20
    assert mapped < 30
    assert extra < mapped + 48, f"{extra:.0f} MiB more than for a small model"
