"""The step loop with a decoder that runs ahead: the same tokens as step by step, whatever requests come and go."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from collections.abc import Sequence as Many
from typing import Any

import pytest
import torch
from pdpanel.engine.actions import Action, Emit, ExportPages, WritePages
from pdpanel.engine.gpu.ahead import AheadDecoder
from pdpanel.engine.kv import KVCache
from pdpanel.engine.lifecycle import UNIFIED
from pdpanel.engine.model.executor import Decoder, DecodeRow, TokenSpan
from pdpanel.engine.model.llama import Llama
from pdpanel.engine.pages import PagePool
from pdpanel.engine.request import GenerateRequest, LogprobParams, SamplingParams
from pdpanel.engine.schedule import Schedule
from pdpanel.engine.sequence import Sequence as Request
from pdpanel.engine.statistics import EngineStatistics
from pdpanel.engine.step_loop import StepLoop
from pdpanel.engine.unified_core import UnifiedCore
from tiny_gpu_model import SHAPE, random_weights

PAGES = 20


class Ahead(Llama):
    """The CPU's model with the decoder of GPUs."""

    decoder: Decoder | None = None

    def launch(self, rows: Sequence[DecodeRow], ids: torch.Tensor | None, kv: KVCache) -> torch.Tensor:
        tokens = [row.token for row in rows] if ids is None else ids.tolist()
        spans = [TokenSpan([token], row.position, row.slot, True) for row, token in zip(rows, tokens, strict=True)]
        return self.forward(spans, kv)


class Outputs:
    """Collects the tokens of each request."""

    def __init__(self, wanted: int) -> None:
        self.tokens: dict[int, list[int]] = {}
        self.reason = ""
        self._wanted = wanted
        self._changed = threading.Condition()

    def emit(self, emits: Many[Emit]) -> None:
        with self._changed:
            for emit in emits:
                self.tokens.setdefault(emit.key, []).extend(emit.token_ids)
                self._wanted -= emit.finish is not None
            self._changed.notify_all()

    def export(self, action: ExportPages | WritePages) -> None:
        raise AssertionError("a unified worker exports nothing")

    def send(self, action: Action) -> None:
        raise AssertionError("a unified worker sends nothing")

    def fatal(self, reason: str) -> None:
        with self._changed:
            self.reason, self._wanted = reason, 0
            self._changed.notify_all()

    def wait(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._wanted <= 0, 60)


def requests(seed: int) -> list[Request]:
    """Requests of all kinds: some end by a token, some at their limit, some want scores or a least length."""
    draw = random.Random(seed)
    made: list[Request] = []
    for key in range(8):
        prompt = tuple(draw.randrange(SHAPE.vocab) for _ in range(draw.randint(1, 40)))
        sampling = SamplingParams(
            max_new_tokens=draw.randint(1, 40),
            temperature=draw.choice([0.0, 0.8]),
            min_new_tokens=draw.choice([0, 0, 0, 6]),
            seed=key,
        )
        wanted = LogprobParams(start=len(prompt)) if key == 3 else None
        request = GenerateRequest(f"r{key}", prompt, sampling, logprobs=wanted)
        stops = frozenset(draw.sample(range(SHAPE.vocab), 4))
        limit = len(prompt) + (sampling.max_new_tokens or 0)
        made.append(Request(key, request, UNIFIED, key, limit, stops, list(prompt), UNIFIED.start))
    return made


def outputs(decoder: Callable[[Ahead], Decoder | None], seed: int) -> dict[int, list[int]]:
    model = Ahead(SHAPE, random_weights(SHAPE, torch.device("cpu")), SHAPE.context_length)
    model.decoder = decoder(model)
    kv = KVCache(SHAPE, pages=PAGES, page_size=16, dtype=torch.float32, staging=False)
    # Slots are short of places, so that sequences move and lose theirs.
    schedule = Schedule(PagePool(PAGES), page_size=16, chunk_tokens=64, max_running=4, reserve_tokens=3)
    core, sequences = UnifiedCore(schedule), requests(seed)
    found: Any = Outputs(len(sequences))
    loop = StepLoop(core, model, kv, found, EngineStatistics)
    for sequence in sequences:
        loop.post(lambda now, sequence=sequence: core.submit(sequence, now))
    loop.start()
    try:
        found.wait()
    finally:
        loop.stop()
    assert found.reason == "" and list(core.integrity()) == []
    return found.tokens


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_requests_that_come_and_go_get_the_tokens_of_step_by_step(seed: int) -> None:
    expected = outputs(lambda model: None, seed)
    assert sum(map(len, expected.values())) > 40
    launched: list[int] = []

    def counted(model: Ahead) -> Decoder:
        def launch(rows: Sequence[DecodeRow], ids: torch.Tensor | None, kv: KVCache) -> torch.Tensor:
            launched.append(ids is not None)
            return model.launch(rows, ids, kv)

        return AheadDecoder(launch)

    assert outputs(counted, seed) == expected
    assert sum(launched) > 5  # steps that ran ahead
    assert outputs(lambda model: AheadDecoder(model.launch, ahead=False), seed) == expected
