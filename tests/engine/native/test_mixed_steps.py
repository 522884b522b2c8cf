"""Steps that mix prompts and decoding answer with the very tokens of a worker that computes prompts first."""

from __future__ import annotations

from collections.abc import Sequence as Many

import pytest
import torch
from pdpanel.engine.kv import KVCache
from pdpanel.engine.lifecycle import UNIFIED
from pdpanel.engine.model.executor import Executor, TokenSpan
from pdpanel.engine.pages import PagePool
from pdpanel.engine.request import GenerateRequest, SamplingParams
from pdpanel.engine.schedule import Schedule, StepKind
from pdpanel.engine.sequence import Sequence
from pdpanel.engine.unified_core import UnifiedCore

from .conftest import MakePair, small_shape

PAGE, PAGES, OUTPUT = 16, 48, 12
# Steps to wait before each prompt, and its length; 68 is a chunk of the default mode and a piece of four.
ARRIVALS = ((0, 9), (2, 50), (1, 68), (0, 7), (6, 33))


def answers(executor: Executor, schedule: Schedule) -> tuple[list[Many[int]], dict[int, torch.Tensor], set[StepKind]]:
    """Returns each request's output, the logits of its first token, and the kinds of steps that there were."""
    kv = KVCache(executor.shape, pages=PAGES, page_size=PAGE, dtype=torch.float32, staging=False)
    core = UnifiedCore(schedule)
    random = torch.Generator().manual_seed(3)
    sequences: list[Sequence] = []
    firsts: dict[int, torch.Tensor] = {}
    kinds: set[StepKind] = set()

    def step() -> bool:
        now = core.next_step()
        if now is None:
            return False
        kinds.add(now.kind)
        spans = [
            TokenSpan(s.sequence.tokens[s.start : s.stop], s.start, kv.first_token(s.sequence.slot), s.sample)
            for s in now.spans
            if s.sequence.slot is not None
        ]
        logits = executor.forward(spans, kv)
        drawn = [span.sequence.key for span in now.spans if span.sample]
        for key, row in zip(drawn, logits, strict=True):
            firsts.setdefault(key, row.clone())
        core.step_done(now, logits.argmax(dim=-1).tolist(), 0.0)
        return True

    for key, (wait, prompt) in enumerate(ARRIVALS):
        for _ in range(wait):
            step()
        ids = tuple(torch.randint(0, 250, (prompt,), generator=random).tolist())
        request = GenerateRequest(f"r{key}", ids, SamplingParams(temperature=0, max_new_tokens=OUTPUT))
        sequences.append(
            Sequence(key, request, UNIFIED, 0, prompt + OUTPUT, frozenset(), [*ids], UNIFIED.start),
        )
        core.submit(sequences[-1], 0.0)
    while step():
        pass
    return [sequence.tokens for sequence in sequences], firsts, kinds


def make_schedule(*, mixed: bool, chunk: int) -> Schedule:
    return Schedule(
        PagePool(PAGES), page_size=PAGE, chunk_tokens=chunk, max_running=4, reserve_tokens=OUTPUT, mixed=mixed
    )


@pytest.mark.parametrize("budget", [6, 16, 32])
def test_the_bits_of_a_token_do_not_depend_on_how_its_prompt_was_cut(make_pair: MakePair, budget: int) -> None:
    native, _ = make_pair(small_shape())
    with torch.inference_mode():
        plain, plain_logits, plain_kinds = answers(native, make_schedule(mixed=False, chunk=64))
        mixed, mixed_logits, kinds = answers(native, make_schedule(mixed=True, chunk=budget))
    assert StepKind.MIXED in kinds and StepKind.MIXED not in plain_kinds
    assert mixed == plain
    assert all(torch.equal(mixed_logits[key], row) for key, row in plain_logits.items())
