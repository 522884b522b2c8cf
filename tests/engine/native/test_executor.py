"""The native kernels against torch on the same weights; a token's bits are its own, whatever is beside it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine.kv import KVCache
from pdpanel.engine.model.executor import TokenSpan
from pdpanel.engine.model.shape import ModelShape, RopeScaling
from pdpanel.engine.native.formats import INT4, INT8

from .conftest import MakePair, small_shape

SHAPES = {
    "groups of three": small_shape(),
    "one KV head": small_shape(heads=4, kv_heads=1),
    "groups of one, wide heads": small_shape(heads=2, kv_heads=2, head_dim=64),
    "bias": small_shape(qkv_bias=True),
    "norms of heads": small_shape(qk_norm=True, head_dim=64, heads=4),
    "stretched rope": small_shape(rope_scaling=RopeScaling("linear", 4.0)),
    "ragged vocabulary": small_shape(vocab=257, ffn=32),
}


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


def cache(shape: ModelShape, dtype: torch.dtype = torch.float32) -> KVCache:
    kv = KVCache(shape, pages=48, page_size=16, dtype=dtype, staging=False)
    kv.slots.fill_(float("nan"))  # whoever reads what nobody wrote is found out
    return kv


def tokens(count: int, seed: int = 0) -> list[int]:
    return torch.randint(0, 250, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def steps() -> list[list[TokenSpan]]:
    ids = tokens(120)
    return [
        [TokenSpan(ids[:50], 0, 0, True), TokenSpan(ids[50:57], 0, 256, True), TokenSpan(ids[60:61], 0, 400, True)],
        [TokenSpan(ids[50:90], 50, 0, True), TokenSpan([3], 7, 256, True)],
        [TokenSpan([5], 90, 0, True), TokenSpan([9], 8, 256, True), TokenSpan([9], 1, 400, False)],
    ]


@pytest.mark.parametrize("layout", [INT4, INT8], ids=lambda layout: layout.name)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_logits_and_kv_are_those_of_torch(make_pair: MakePair, shape: ModelShape, layout) -> None:
    native, plain = make_pair(shape, layout, dots=False)
    ours, theirs = cache(shape), cache(shape)
    for step in steps():
        found, expected = native.forward(step, ours), plain.forward(step, theirs)
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=1e-3)
    for first, last in ((0, 91), (256, 265), (400, 402)):
        mine, wanted = ours.slots[:, :, :, first:last], theirs.slots[:, :, :, first:last]
        torch.testing.assert_close(mine, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_kv_is_rounded_as_torch_rounds_it(make_pair: MakePair, dtype: str) -> None:
    shape = small_shape(layers=1)
    wide, _ = make_pair(shape)
    narrow, _ = make_pair(shape, kv=dtype)
    ours, theirs = cache(shape, getattr(torch, dtype)), cache(shape)
    step = [TokenSpan(tokens(40), 0, 16, True)]
    narrow.forward(step, ours)
    wide.forward(step, theirs)
    assert torch.equal(ours.slots[:, :, :, 16:56], theirs.slots[:, :, :, 16:56].to(ours.dtype))
    more = [TokenSpan([1], 40, 16, True)]
    torch.testing.assert_close(narrow.forward(more, ours), wide.forward(more, theirs), atol=0.2, rtol=0.05)


@given(cuts=st.lists(st.integers(2, 99), max_size=4, unique=True), beside=st.integers(0, 20), threads=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_the_bits_of_a_prompt_do_not_depend_on_chunks_neighbours_or_threads(
    make_pair: MakePair, cuts: list[int], beside: int, threads: int
) -> None:
    shape = SHAPES["groups of three"]
    with torch.inference_mode():
        alone, _ = make_pair(shape)
        crowd, _ = make_pair(shape, threads=threads)
        ids = tokens(101)
        ours, theirs = cache(shape), cache(shape)
        expected = alone.forward([TokenSpan(ids, 0, 0, True)], theirs)
        edges = [0, *(cut for cut in sorted(cuts)), 101]
        # A chunk of one token attends on another path, which rounds differently.
        edges = [edge for at, edge in enumerate(edges) if at == 0 or edge - edges[at - 1] > 1]
        edges = edges if edges[-1] == 101 else [*edges[:-1], 101]
        found = expected[:0]
        for start, stop in itertools.pairwise(edges):
            others = [TokenSpan([4], 0, 256 + 2 * row, row % 2 == 0) for row in range(beside)]
            found = crowd.forward([*others, TokenSpan(ids[start:stop], start, 128, True)], ours)
        assert torch.equal(found[-1], expected[0])
        assert torch.equal(ours.slots[:, :, :, 128:229], theirs.slots[:, :, :, :101])
        crowd.close()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_token_has_the_same_bits_in_batches_of_any_size(make_pair: MakePair, dtype: str) -> None:
    shape = SHAPES["bias"]
    native, _ = make_pair(shape, kv=dtype)
    kv = cache(shape, getattr(torch, dtype))
    for slot in range(40):
        native.forward([TokenSpan(tokens(9, slot), 0, 16 * slot, False)], kv)
    each = [native.forward([TokenSpan([slot], 9, 16 * slot, True)], kv)[0] for slot in range(40)]
    for size in (2, 3, 8, 15, 16, 17, 40):
        found = native.forward([TokenSpan([slot], 9, 16 * slot, True) for slot in range(size)], kv)
        assert all(torch.equal(found[row], each[row]) for row in range(size)), size


def test_states_are_tapped_and_give_their_logits_again(make_pair: MakePair) -> None:
    shape = SHAPES["groups of three"]
    native, _ = make_pair(shape)
    tapped: list[torch.Tensor] = []
    span = TokenSpan(tokens(20), 0, 0, True)
    found = native.forward([span], cache(shape), tapped.append)
    native.forward([TokenSpan(tokens(20, 1), 0, 64, True)], cache(shape))
    assert tapped[0].shape == (20, shape.hidden)
    assert torch.equal(native.logits(tapped[0])[-1], found[0])


def test_a_step_without_wanted_logits_gives_none(make_pair: MakePair) -> None:
    native, _ = make_pair(SHAPES["groups of three"])
    assert native.forward([TokenSpan([1, 2], 0, 0, False)], cache(native.shape)).shape == (0, native.shape.vocab)


@pytest.mark.parametrize("beyond", [-1, 0])
def test_an_id_outside_the_vocabulary_is_refused_before_native_code_reads_it(make_pair: MakePair, beyond: int) -> None:
    native, _ = make_pair(SHAPES["groups of three"])
    wrong = beyond if beyond < 0 else native.shape.vocab
    with pytest.raises(IndexError, match=str(native.shape.vocab - 1)):
        native.forward([TokenSpan([1, wrong], 0, 0, True)], cache(native.shape))


def test_a_profile_shares_out_the_whole_step(make_pair: MakePair) -> None:
    native, _ = make_pair(SHAPES["groups of three"])
    shares = native.profile([TokenSpan(tokens(30), 0, 0, True)], cache(native.shape))
    assert {"qkv", "rope", "attention", "o", "norm", "gather", "gate_up", "down"} == set(shares)
    assert sum(shares.values()) == pytest.approx(1)


def test_it_says_what_it_is(make_pair: MakePair) -> None:
    shape = replace(SHAPES["bias"], layers=1)
    native, _ = make_pair(shape, INT8)
    assert (native.info.executor, native.info.weights) == ("native", "int8-g32")
    plain, _ = make_pair(shape, INT8, dots=False)
    assert plain.info.decode.startswith("float32, since this CPU (")
    assert native.info.decode == plain.info.decode or native.info.decode == "bytes, two for each activation"
    weights = 320 * 64 + 64 * 192 + 192 * 64 + 64 * 96 + 320 * 64  # qkv, o, gate and up, down, head of whole panels
    assert native.weight_bytes == weights * 8.5 / 8


def test_states_that_nobody_wants_are_left_out_of_the_last_layer_alone(make_pair: MakePair) -> None:
    native, _ = make_pair(SHAPES["bias"])
    ids, quiet, heard = tokens(60), cache(native.shape), cache(native.shape)
    seen: list[torch.Tensor] = []
    for kv, tap in ((quiet, None), (heard, seen.append)):
        native.forward([TokenSpan(ids[:40], 0, 0, False), TokenSpan([7], 0, 128, False)], kv, tap)
    step = [TokenSpan(ids[40:], 40, 0, True), TokenSpan([8], 1, 128, False), TokenSpan(ids[:3], 0, 256, True)]
    found, expected = native.forward(step, quiet), native.forward(step, heard, seen.append)
    assert torch.equal(found, expected)
    assert [len(states) for states in seen] == [41, 24]
    for first, last in ((0, 60), (128, 130), (256, 259)):
        assert torch.equal(quiet.slots[:, :, :, first:last], heard.slots[:, :, :, first:last])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_answer_that_another_worker_goes_on_with_has_the_same_bits(make_pair: MakePair, dtype: str) -> None:
    """The first worker decodes beside others; the second computes prompt and answer so far again, token by token."""
    native, _ = make_pair(SHAPES["bias"], kv=dtype)
    ids = tokens(37)
    first, second = (cache(native.shape, getattr(torch, dtype)) for _ in range(2))
    logits = native.forward([TokenSpan(ids, 0, 0, True)], first)
    for step in range(12):
        beside = [TokenSpan([step], 3 * step, 128 + 64 * row, False) for row in range(step % 5)]
        for span in beside:  # their past
            native.forward([TokenSpan([1] * max(1, span.start), 0, span.slot, False)], first)
        ids.append(int(logits[-1].argmax()))
        logits = native.forward([*beside, TokenSpan(ids[-1:], len(ids) - 1, 0, True)], first)
    again = [TokenSpan(ids[:32], 0, 256, False)]
    native.forward(again, second)
    answer = [TokenSpan([ids[at]], at, 256, at == len(ids) - 1) for at in range(37, len(ids))]
    found = native.forward([TokenSpan(ids[32:37], 32, 256, False), *answer], second)
    assert torch.equal(found[-1], logits[-1])
    assert torch.equal(first.slots[:, :, :, :49], second.slots[:, :, :, 256:305])
