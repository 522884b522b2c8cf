"""Models of random weights by name: made once in the cache, with the tensors that the Hub's models have."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from pdpanel.engine.config import read_environment
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.model.progress import Progress
from pdpanel.engine.model.random_models import make_random_model, random_name, write_random_model
from pdpanel.engine.model.random_shapes import IMAGE_TOKEN, SHAPES, TOKENS, random_config, random_tensors
from pdpanel.engine.model.store import resolve_model
from pdpanel.engine.model.tensorfile import read_header
from pdpanel.engine.text.tokenizer import Tokenizer

SMALL = [name for name in SHAPES if name != "qwen3-0.6b"]


def test_a_name_is_made_once_and_resolved_like_any_model(tmp_path: Path) -> None:
    seen: list[Progress] = []
    environment = read_environment({"PDPANEL_CACHE_DIR": str(tmp_path)})
    model = resolve_model("random:llama-12h", environment, seen.append)
    assert model.name == "random:llama-12h" and (model.shape.heads, model.shape.kv_heads) == (12, 12)
    assert {each.stage for each in seen} >= {"write", "convert"}
    seen.clear()
    again = resolve_model("random:llama-12h", environment, seen.append)
    assert again == model and not seen


def test_workers_that_start_together_make_it_once(tmp_path: Path) -> None:
    stages: list[str] = []
    found: list[Path] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(make_random_model("llama-tiny", tmp_path, lambda p: stages.append(p.stage)))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1 and len(found) == 4
    tensors = len(random_tensors(random_config("llama-tiny")))
    assert stages.count("write") == tensors, "one of them wrote"
    assert [path.name for path in found[0].parent.iterdir() if ".tmp-" in path.name] == []


@pytest.mark.parametrize("name", SMALL)
def test_each_has_the_tensors_and_files_that_it_says(tmp_path: Path, name: str) -> None:
    folder = write_random_model(tmp_path / name, name)
    config = json.loads((folder / "config.json").read_text())
    stored = read_header(folder / "model.safetensors")
    assert {key: value.shape for key, value in stored.items()} == {t.name: t.shape for t in random_tensors(config)}
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    assert set(tokenizer.encode("né\n")) <= set(TOKENS)
    assert (folder / "preprocessor_config.json").is_file() == ("vision_config" in config)
    with (folder / "model.safetensors").open("rb") as file:
        one = next(value for key, value in stored.items() if key.endswith("q_proj.weight"))
        file.seek(one.start)
        bits = np.frombuffer(file.read(one.end - one.start), "<u2").astype(np.uint32) << 16
    assert 0.5 < bits.view(np.float32).std() * one.shape[1] ** 0.5 < 2


def test_a_model_that_sees_has_a_token_for_an_image(tmp_path: Path) -> None:
    folder = write_random_model(tmp_path / "m", "llava")
    config = json.loads((folder / "config.json").read_text())
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    assert tokenizer.encode("a<image>b").count(IMAGE_TOKEN) == 1 and config["image_token_index"] == IMAGE_TOKEN
    size, patch = config["vision_config"]["image_size"], config["vision_config"]["patch_size"]
    assert config["image_seq_length"] == (size // patch) ** 2


def test_a_wrong_name_gets_those_there_are() -> None:
    assert random_name("smollm2") is None and random_name("random:llava") == "llava"
    with pytest.raises(ConfigError, match=r"random:llama-13h.*use one of .*random:llama-12h"):
        random_name("random:llama-13h")
