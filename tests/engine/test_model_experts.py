"""Models with experts against transformers' own, on tiny random ones; and their files in every form."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.kv import KVCache
from pdpanel.engine.model.convert import convert
from pdpanel.engine.model.converted import open_converted
from pdpanel.engine.model.executor import TokenSpan
from pdpanel.engine.model.expert_shape import ExpertShape
from pdpanel.engine.model.experts import ExpertWeights, Routes, compute_experts, route
from pdpanel.engine.model.llama import Llama
from pdpanel.engine.model.progress import no_progress
from pdpanel.engine.model.shape import ModelShape
from pdpanel.engine.model.weights import load_weights
from pdpanel.engine.native.packing import why_not
from safetensors.torch import load_file, save_file
from tiny_moe import MODELS, TinyMoe, make_tiny_moe, write_number_tokenizer


@dataclass(frozen=True)
class Made(TinyMoe):
    """With our forward pass over it."""

    ours: Llama


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    tiny = make_tiny_moe(request.param, tmp_path_factory.mktemp("model"))
    return Made(tiny.folder, tiny.theirs, tiny.shape, tiny.weights, Llama(tiny.shape, tiny.weights, 512))


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


def cache(shape: ModelShape) -> KVCache:
    return KVCache(shape, pages=32, page_size=16, dtype=torch.float32, staging=False)


def some(*sizes: int, seed: int = 5) -> torch.Tensor:
    return torch.randn(sizes, generator=torch.Generator().manual_seed(seed))


def ids_of(count: int, seed: int) -> list[int]:
    return torch.randint(0, 256, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def test_logits_equal_transformers_in_chunks_and_token_by_token(model: Made) -> None:
    ids = ids_of(75, 4)
    expected = model.theirs(torch.tensor([ids])).logits[0]
    kv = cache(model.shape)
    for start, stop in ((0, 32), (32, 64), (64, 70), (70, 71), (71, 72)):
        logits = model.ours.forward([TokenSpan(ids[start:stop], start, 48, True)], kv)
        torch.testing.assert_close(logits[0], expected[stop - 1], atol=2e-4, rtol=2e-4)


def test_greedy_tokens_are_those_of_transformers(model: Made) -> None:
    ids = ids_of(30, 5)
    expected = model.theirs.generate(torch.tensor([ids]), max_new_tokens=40, do_sample=False)[0].tolist()
    kv, tokens, start = cache(model.shape), list(ids), 0
    while len(tokens) < len(expected):
        logits = model.ours.forward([TokenSpan(tokens[start:], start, 32, True)], kv)
        start = len(tokens)
        tokens.append(int(logits[0].argmax()))
    assert tokens == expected


def test_a_mixed_batch_gives_each_sequence_its_own_logits(model: Made) -> None:
    prompts, slots = [ids_of(n, n) for n in (40, 7, 1)], [0, 64, 96]
    kv = cache(model.shape)
    model.ours.forward([TokenSpan(prompts[0][:32], 0, slots[0], False)], kv)
    spans = [TokenSpan(prompts[0][32:], 32, slots[0], True)]
    spans += [TokenSpan(prompts[at], 0, slots[at], True) for at in (1, 2)]
    together = model.ours.forward(spans, kv)
    for row, prompt in enumerate(prompts):
        expected = model.theirs(torch.tensor([prompt])).logits[0, -1]
        torch.testing.assert_close(together[row], expected, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("fused", [True, False])
def test_the_other_form_of_its_tensors_is_the_same_model(model: Made, fused: bool, tmp_path: Path) -> None:
    """Transformers restores the Hub's names when it saves, or saves the fused tensors that it computes with."""
    model.theirs.save_pretrained(tmp_path / "m", save_original_format=not fused)
    names = load_file(tmp_path / "m" / "model.safetensors").keys()
    assert any(name.endswith("mlp.experts.gate_up_proj") for name in names) == fused
    assert any(".experts.0." in name for name in names) == (not fused)
    write_number_tokenizer(tmp_path / "m")
    converted = open_converted(convert(tmp_path / "m", tmp_path / "cache", no_progress))
    assert converted is not None and converted.shape == model.shape
    weights = load_weights(converted.directory, converted.shape)
    for one, other in zip(weights.layers, model.ours.weights.layers, strict=True):
        if one.experts is None:
            assert other.experts is None and torch.equal(one.gate_up, other.gate_up)
            continue
        assert other.experts is not None and one.experts.ids == other.experts.ids
        assert torch.equal(one.experts.router, other.experts.router)
        for part in ("gate_up", "down"):
            pairs = zip(getattr(one.experts, part), getattr(other.experts, part), strict=True)
            assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_a_config_of_transformers_4_says_the_same(model: Made, tmp_path: Path) -> None:
    from pdpanel.engine.model.shape import shape_from_hf_config

    config = json.loads((model.folder / "config.json").read_text())
    old = {**config, **{key: config["rope_parameters"][key] for key in ("rope_theta",)}, "rope_parameters": None}
    if "Qwen3Moe" in model.shape.architecture:
        old = {**old, "num_experts": model.shape.experts.count, "num_local_experts": None}  # type: ignore[union-attr]
    assert shape_from_hf_config(old, source="m") == model.shape


def test_a_tensor_that_is_missing_or_too_much_is_named(model: Made, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / "m" / name).write_bytes((model.folder / name).read_bytes())
    tensors = load_file(model.folder / "model.safetensors")
    last = sorted(name for name in tensors if ".experts.3." in name)[-1]
    save_file({name: tensor for name, tensor in tensors.items() if name != last}, tmp_path / "m" / "model.safetensors")
    with pytest.raises(ConfigError, match=f"tensor {last} is missing"):
        convert(tmp_path / "m", tmp_path / "cache", no_progress)
    assert model.shape.experts is not None
    extra = last.replace(".experts.3.", f".experts.{model.shape.experts.count}.")
    save_file({**tensors, extra: tensors[last].clone()}, tmp_path / "m" / "model.safetensors")
    with pytest.raises(ConfigError, match=f"tensor {extra} is not served for {model.shape.architecture}"):
        convert(tmp_path / "m", tmp_path / "cache", no_progress)


def plain(h: torch.Tensor, routes: Routes, weights: ExpertWeights) -> torch.Tensor:
    """What experts add, token by token."""
    rows = []
    for x, ids, shares in zip(h, routes.ids.tolist(), routes.shares, strict=True):
        total = torch.zeros_like(x)
        for expert, share in zip(ids, shares, strict=True):
            if expert in weights.ids:
                place = weights.ids.index(expert)
                gate, up = (weights.gate_up[place] @ x).chunk(2)
                total += share * (weights.down[place] @ (torch.nn.functional.silu(gate) * up))
        rows.append(total)
    return torch.stack(rows)


def test_the_native_kernels_leave_it_to_torch(model: Made) -> None:
    assert model.shape.experts is not None
    assert why_not(model.shape) == f"its layers have {model.shape.experts.count} experts each"


EXPERTS = ExpertShape(5, 2, 12, normalised=True)


def layer(seed: int) -> ExpertWeights:
    parts = (some(5, 24, 16, seed=seed), some(5, 16, 12, seed=seed + 1))
    return ExpertWeights(some(5, 16, seed=seed + 2), tuple(range(5)), *(tuple(part) for part in parts))


@pytest.mark.parametrize("own", [(0, 1, 2, 3, 4), (1, 3), (4,), ()])
def test_experts_add_what_is_theirs_and_nothing_else(own: tuple[int, ...]) -> None:
    h, weights = some(9, 16), layer(2)
    routes = route(h, weights.router, EXPERTS)
    picked = weights.pick(own)
    assert picked.ids == own
    torch.testing.assert_close(compute_experts(h, routes, picked), plain(h, routes, picked), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(routes.shares.sum(dim=1), torch.ones(9))


def test_no_tokens_are_no_work() -> None:
    weights = layer(2)
    h = torch.empty(0, 16)
    assert compute_experts(h, route(h, weights.router, EXPERTS), weights).shape == (0, 16)
