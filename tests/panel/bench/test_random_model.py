"""Models of random weights: the same each time, and both transformers and our converter read them alike."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.kv import KVCache
from pdpanel.engine.model.convert import convert
from pdpanel.engine.model.converted import open_converted
from pdpanel.engine.model.executor import TokenSpan
from pdpanel.engine.model.layout import weight_layout
from pdpanel.engine.model.llama import Llama
from pdpanel.engine.model.progress import no_progress
from pdpanel.engine.model.shape import shape_from_hf_config
from pdpanel.engine.model.weights import load_weights
from pdpanel.engine.text.tokenizer import Tokenizer
from pdpanel.panel.bench.random_model import SHAPES, TOKENS, main, write_random_model

TINY = [name for name in SHAPES if name.endswith("-tiny")]


@pytest.mark.parametrize("name", TINY)
def test_transformers_and_our_engine_compute_the_same(tmp_path: Path, name: str) -> None:
    from transformers import AutoModelForCausalLM

    folder = write_random_model(tmp_path / "m", name)
    found: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    theirs, loading = found
    assert not loading["missing_keys"] and not loading["unexpected_keys"] and not loading["mismatched_keys"]
    model = open_converted(convert(folder, tmp_path / "cache", no_progress))
    assert model is not None
    ours = Llama(model.shape, load_weights(model.directory, model.shape), 256)
    kv = KVCache(model.shape, pages=8, page_size=16, dtype=torch.float32, staging=False)
    ids = list(TOKENS)[5:75]
    with torch.inference_mode():
        logits = ours.forward([TokenSpan(ids, 0, 0, True)], kv)
        expected = theirs(torch.tensor([ids])).logits[0, -1]
    torch.testing.assert_close(logits[0], expected, atol=1e-4, rtol=1e-4)
    assert expected.std() > 0.1, "logits that tell tokens apart"


def test_its_text_is_bytes_in_and_words_out(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write_random_model(tmp_path / "m", "llama-tiny") / "tokenizer.json")
    ids = tokenizer.encode("né 1\n")
    assert len(ids) == 6 and set(ids) <= set(TOKENS)
    assert tokenizer.decode([*ids, 300, 511]) == "né 1\n w300 w511"


def test_a_seed_makes_the_same_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert main([str(tmp_path / name), "qwen2-tiny", "--seed", seed]) == 0
        files.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert files[0] == files[1]
    assert files[0]["model.safetensors"] != files[2]["model.safetensors"]
    assert capsys.readouterr().out.splitlines()[0] == str(tmp_path / "a")


def test_qwen3_has_the_parameters_of_the_published_model() -> None:
    shape = shape_from_hf_config(SHAPES["qwen3-0.6b"], source="m")
    assert sum(prod(tensor.shape) for tensor in weight_layout(shape)) == 596_049_920
    assert shape.kv_bytes_per_token(2) == 114_688
    json.dumps(SHAPES)


def test_an_unknown_shape_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"qwen3-600b.*use one of qwen3-0\.6b, llama-tiny"):
        write_random_model(tmp_path / "m", "qwen3-600b")
    assert not (tmp_path / "m").exists()
