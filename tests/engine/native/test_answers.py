"""Tokens of answers: multiplied as bytes where the processor can, and always in the same way when they come again."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from collections.abc import Sequence as Many
from typing import Any

import pytest
import torch
from pdpanel.engine.kv import KVCache
from pdpanel.engine.lifecycle import UNIFIED
from pdpanel.engine.model.executor import TokenSpan
from pdpanel.engine.native.executor import NativeLlama
from pdpanel.engine.native.formats import INT4, INT8
from pdpanel.engine.pages import PagePool
from pdpanel.engine.request import GenerateRequest, SamplingParams
from pdpanel.engine.schedule import Schedule
from pdpanel.engine.sequence import Sequence
from pdpanel.engine.statistics import EngineStatistics
from pdpanel.engine.step_loop import StepLoop
from pdpanel.engine.unified_core import UnifiedCore

from .conftest import MakePair, small_shape
from .test_executor import SHAPES, cache, steps, tokens

PAGE = 16


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("layout", [INT4, INT8], ids=lambda layout: layout.name)
@pytest.mark.parametrize("name", ["groups of three", "bias", "ragged vocabulary"])
def test_they_are_near_those_of_torch(make_pair: MakePair, name: str, layout) -> None:
    native, plain = make_pair(SHAPES[name], layout)
    ours, theirs = cache(SHAPES[name]), cache(SHAPES[name])
    for step in steps():
        torch.testing.assert_close(native.forward(step, ours), plain.forward(step, theirs), atol=2e-3, rtol=1e-3)
    for first, last in ((0, 91), (256, 265), (400, 402)):
        mine, wanted = ours.slots[:, :, :, first:last], theirs.slots[:, :, :, first:last]
        torch.testing.assert_close(mine, wanted, atol=2e-3, rtol=1e-3)


def test_a_text_computed_token_by_token_loses_next_to_nothing(make_pair: MakePair) -> None:
    native, plain = make_pair(SHAPES["groups of three"])
    ids, ours, theirs = tokens(100), cache(native.shape), cache(native.shape)
    native.forward([TokenSpan(ids[:4], 0, 0, False)], ours)
    found = torch.cat([native.forward([TokenSpan([ids[at]], at, 0, True)], ours) for at in range(4, 100)])
    seen: list[torch.Tensor] = []
    plain.forward([TokenSpan(ids, 0, 0, True)], theirs, seen.append)
    sure, other = plain.logits(seen[0][4:]).log_softmax(-1), found.log_softmax(-1)
    assert (sure.argmax(-1) == other.argmax(-1)).float().mean() >= 0.99
    assert (sure.exp() * (sure - other)).sum(-1).mean() < 1e-5


def test_steps_of_any_order_give_each_its_own(make_pair: MakePair) -> None:
    """Prompts and answers in one step, in turns; one prompt's chunk is a single token."""
    native, _ = make_pair(SHAPES["bias"], threads=3)
    ids = tokens(60)
    spans = [
        TokenSpan(ids[:20], 0, 0, True),
        TokenSpan([7], 9, 64, True),
        TokenSpan(ids[:1], 0, 128, True, prompt=True),
        TokenSpan([9], 9, 192, False),
        TokenSpan(ids[20:50], 0, 256, False),
        TokenSpan([11], 9, 320, True),
    ]
    alone, together, tapped = cache(native.shape), cache(native.shape), cache(native.shape)
    for kv in (alone, together, tapped):
        for slot in (64, 192, 320):
            native.forward([TokenSpan(tokens(9, slot), 0, slot, False)], kv)
    seen: list[torch.Tensor] = []
    states: list[torch.Tensor] = []
    expected = torch.cat([native.forward([span], alone, seen.append) for span in spans])
    assert torch.equal(native.forward(spans, together), expected)
    assert torch.equal(native.forward(spans, tapped, states.append), expected)
    assert torch.equal(states[0], torch.cat(seen))
    for span in spans:
        places = slice(span.slot, span.slot + span.stop)
        assert torch.equal(alone.slots[:, :, :, places], together.slots[:, :, :, places])
    native.close()


def test_a_prompt_may_be_cut_to_single_tokens(make_pair: MakePair) -> None:
    native, _ = make_pair(SHAPES["groups of three"])
    ids, whole, cut = tokens(40), cache(native.shape), cache(native.shape)
    expected = native.forward([TokenSpan(ids, 0, 0, True)], whole)
    edges = [0, 1, 17, 18, 39, 40]
    found = [
        native.forward([TokenSpan(ids[start:stop], start, 0, True, prompt=True)], cut)
        for start, stop in itertools.pairwise(edges)
    ]
    assert torch.equal(found[-1], expected)
    assert torch.equal(whole.slots[:, :, :, :40], cut.slots[:, :, :, :40])


class Noting:
    """A model that keeps the logits of each length that they were wanted for."""

    def __init__(self, model: NativeLlama) -> None:
        self._model = model
        self.logits: dict[int, torch.Tensor] = {}

    def forward(self, spans: Many[TokenSpan], kv: KVCache) -> torch.Tensor:
        found = self._model.forward(spans, kv)
        self.logits |= dict(zip((span.stop for span in spans if span.logits), found.clone(), strict=True))
        return found


class Ended:
    """Waits for the end of the one request."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def emit(self, emits: Many[Any]) -> None:
        if any(emit.finish is not None for emit in emits):
            self.over.set()

    def fatal(self, reason: str) -> None:
        raise AssertionError(reason)


def answered(model: NativeLlama, prompt: tuple[int, ...], replayed: tuple[int, ...], chunk: int) -> tuple[Any, ...]:
    """Returns the tokens, and the logits by length, of a request whose first tokens an earlier try has sent."""
    noting, ended = Noting(model), Ended()
    kv = KVCache(model.shape, pages=12, page_size=PAGE, dtype=torch.bfloat16, staging=False)
    schedule = Schedule(PagePool(12), page_size=PAGE, chunk_tokens=chunk, max_running=4, reserve_tokens=4)
    params = SamplingParams(temperature=0, max_new_tokens=24)
    request = GenerateRequest("r", prompt, params, replayed_ids=replayed)
    ids = [*prompt, *replayed]
    sequence = Sequence(1, request, UNIFIED, 0, len(prompt) + 24, frozenset(), ids, UNIFIED.start)
    loop = StepLoop(UnifiedCore(schedule), noting, kv, ended, EngineStatistics)  # type: ignore[arg-type]
    loop.start()
    loop.post(lambda now: loop.core.submit(sequence, now))
    assert ended.over.wait(20)
    loop.stop()
    return sequence.tokens, noting.logits


@pytest.mark.parametrize("prompt", [33, 48])
@pytest.mark.parametrize("sent", [1, 2, 17])
def test_an_answer_that_is_continued_goes_on_with_the_very_bits(make_pair: MakePair, prompt: int, sent: int) -> None:
    """The first chunks leave a single token of one prompt; the second ones cut the answer so far in two."""
    native, _ = make_pair(SHAPES["bias"], kv="bfloat16")
    ids = tuple(tokens(prompt, 3))
    whole, expected = answered(native, ids, (), 16)
    again, found = answered(native, ids, tuple(whole[prompt : prompt + sent]), 40)
    assert again == whole
    assert set(found) == {length for length in expected if length >= prompt + sent}
    assert all(torch.equal(row, expected[length]) for length, row in found.items())


def test_many_rows_have_the_bits_of_one_with_any_number_of_threads(make_pair: MakePair) -> None:
    one, _ = make_pair(small_shape(), INT8)
    crew, _ = make_pair(small_shape(), INT8, threads=3)
    ours, theirs = cache(one.shape), cache(one.shape)
    spans = [TokenSpan([slot], 0, 16 * slot, True) for slot in range(33)]
    expected = torch.cat([one.forward([span], ours) for span in spans])
    assert torch.equal(crew.forward(spans, theirs), expected)
    crew.close()
