"""A prefill core that has a prompt's beginning: what it sends, what it computes, and when pages are kept."""

from __future__ import annotations

import threading
from collections.abc import Sequence as Many
from typing import Any

import pytest
import torch
from pdpanel.engine.actions import Action, Emit, ExportPages, ImportPages, SendCommit, WritePages
from pdpanel.engine.lifecycle import PREFILL, State
from pdpanel.engine.pages import PagePool, Run
from pdpanel.engine.prefill_core import PrefillCore
from pdpanel.engine.request import Bootstrap, Finish, FinishKind, GenerateRequest, LogprobParams, SamplingParams
from pdpanel.engine.schedule import Schedule
from pdpanel.engine.sequence import Sequence
from pdpanel.engine.statistics import EngineStatistics
from pdpanel.engine.step_loop import StepLoop

PAGE, CHUNK, HARD = 4, 32, 30.0
GONE = Finish(FinishKind.ABORT, message="the client left", http_status=499)


def make_core(pages: int = 40, *, radix_cache: bool = True) -> PrefillCore:
    schedule = Schedule(PagePool(40), page_size=PAGE, chunk_tokens=CHUNK, max_running=4, reserve_tokens=0)
    return PrefillCore(schedule, PagePool(pages), bootstrap_timeout_s=60, hard_timeout_s=HARD, radix_cache=radix_cache)


def start(
    core: PrefillCore,
    key: int,
    ids: Many[int],
    *,
    replayed: int = 0,
    scored_from: int | None = None,
    until: float = 60.0,
) -> Sequence:
    """Submits and grants a request; decode's pages are 100, 101 and so on."""
    prompt, more = tuple(ids[: len(ids) - replayed]), tuple(ids[len(ids) - replayed :])
    scores = None if scored_from is None else LogprobParams(start=scored_from)
    request = GenerateRequest(
        f"r{key}", prompt, SamplingParams(), Bootstrap("127.0.0.1", 1, key), replayed_ids=more, logprobs=scores
    )
    sequence = Sequence(
        key, request, PREFILL, seed=0, limit=len(ids) + 9, stop_ids=frozenset(), tokens=[*ids], state=PREFILL.start
    )
    core.submit(sequence, 0.0)
    core.grant("D", key, (Run(100, -(-len(ids) // PAGE)),), until, 0.0)
    return sequence


def compute(core: PrefillCore) -> list[tuple[int, int]]:
    """Computes until there is nothing left; returns the spans."""
    spans = []
    while (step := core.next_step()) is not None:
        spans += [(span.start, span.stop) for span in step.spans]
        core.step_done(step, [1] * sum(span.sample for span in step.spans), 0.0)
    return spans


def finish(core: PrefillCore, sequence: Sequence) -> None:
    """Ends the writes and takes decode's acknowledgement."""
    while sequence.writes_pending:
        core.write_done(sequence, ok=True, quiet=True, error="", now=0.0)
    core.acknowledged("D", sequence.room, True, 0.0)
    assert sequence.state is State.CLOSED


def served(core: PrefillCore, key: int, ids: Many[int]) -> Sequence:
    sequence = start(core, key, ids)
    compute(core)
    finish(core, sequence)
    core.actions = []
    return sequence


def test_known_pages_travel_first_and_are_not_computed() -> None:
    core = make_core()
    first = served(core, 1, range(50))
    sequence = start(core, 2, [*range(42), *range(200, 230)])
    step = core.next_step()
    assert step is not None
    imported, written = core.actions
    known = Run(0, 10)  # 42 tokens are known, 40 of them in whole pages
    assert sequence.slot is not None
    slot = sequence.slot.start
    assert imported == ImportPages(sequence, slot, (known,))
    assert written == WritePages(sequence, (known,), (Run(100, 10),))
    assert [(span.start, span.stop) for span in step.spans] == [(40, 64)], "the chunk ends where it does without a hit"
    core.actions = []
    core.step_done(step, [], 0.0)
    assert compute(core) == [(64, 72)]
    exports = [action for action in core.actions if isinstance(action, ExportPages)]
    assert [(action.slot_page - slot, action.target) for action in exports] == [
        (10, (Run(110, 6),)),
        (16, (Run(116, 2),)),
    ]
    assert [emit.cached_tokens for emit in core.actions if isinstance(emit, Emit) and emit.token_ids] == [40]
    assert first.cached_tokens == 0
    finish(core, sequence)
    assert any(isinstance(action, SendCommit) and action.sequence.cached_tokens == 40 for action in core.actions)
    core.staging.check()
    assert core.prefix.pages == 12 + (72 - 40) // PAGE
    assert core.integrity() == []


@pytest.mark.parametrize(
    ("tokens", "hit"),
    [(16, 0), (17, 0), (20, 4), (31, 12), (32, 16), (33, 32), (40, 32), (48, 32), (52, 36), (64, 48), (65, 64)],
)
def test_a_chunk_that_is_cut_short_keeps_sixteen_tokens(tokens: int, hit: int) -> None:
    core = make_core()
    served(core, 1, range(100))
    sequence = start(core, 2, range(tokens))
    compute(core)
    assert sequence.cached == hit


def test_the_prompt_is_computed_from_the_first_token_whose_scores_are_asked_for() -> None:
    core = make_core()
    served(core, 1, range(60))
    for key, scored_from, hit in ((2, 0, 0), (3, 30, 28), (4, 60, 44)):
        sequence = start(core, key, range(60), scored_from=scored_from)
        compute(core)
        assert sequence.cached == hit


def test_replayed_output_can_be_known_and_does_not_count_as_prompt() -> None:
    core = make_core()
    served(core, 1, range(60))
    sequence = start(core, 2, range(60), replayed=30)
    compute(core)
    assert (sequence.cached, sequence.cached_tokens) == (44, 30)


def test_what_did_not_end_well_is_not_kept() -> None:
    core = make_core()
    aborted, refused = start(core, 1, range(40)), start(core, 2, range(100, 140))
    compute(core)
    core.abort(aborted, GONE, 0.0)
    while refused.writes_pending:
        core.write_done(refused, ok=True, quiet=True, error="", now=0.0)
    core.acknowledged("D", 2, False, 0.0)
    while aborted.writes_pending:
        core.write_done(aborted, ok=True, quiet=True, error="", now=0.0)
    assert not core.rooms
    assert (core.prefix.pages, core.staging.free) == (0, 40)


def test_known_pages_under_a_write_are_not_given_away() -> None:
    """Its request is over, but the failed write may still read them (R1)."""
    core = make_core(pages=10)
    served(core, 1, range(20))
    sequence = start(core, 2, range(36))
    assert core.next_step() is not None
    assert sequence.cached == 20
    core.write_done(sequence, ok=False, quiet=False, error="no answer", now=0.0)
    assert sequence.state is State.DRAINING
    other = start(core, 3, range(500, 540))
    assert core.next_step() is None, "it needs all pages, and five of them may still be read"
    core.tick(HARD - 1)
    assert other.state is State.QUEUED
    core.tick(HARD + 1)
    assert core.next_step() is not None
    assert core.prefix.pages == 0, "what was kept made room"


def test_kept_pages_make_room_before_anybody_waits() -> None:
    core = make_core(pages=10)
    served(core, 1, range(40))
    assert (core.prefix.pages, core.prefix.unused, core.staging.free) == (10, 10, 0)
    sequence = start(core, 2, range(100, 140))
    assert compute(core) == [(0, 32), (32, 40)]
    finish(core, sequence)
    assert core.staging.free + core.prefix.unused == 10


def test_without_the_cache_nothing_is_kept() -> None:
    core = make_core(radix_cache=False)
    served(core, 1, range(50))
    sequence = start(core, 2, range(50))
    assert compute(core) == [(0, 32), (32, 50)]
    assert (sequence.cached, core.prefix.pages) == (0, 0)


class Shell:
    """Model, KV memory and outlet of a step loop in one; notes what is done in which order."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.ended = threading.Semaphore(0)

    def forward(self, spans: Many[Any], kv: Any) -> torch.Tensor:
        self.done += [f"compute from {span.start}" for span in spans]
        return torch.zeros((sum(span.logits for span in spans), 8))

    def first_token(self, slot: Run) -> int:
        return slot.start * PAGE

    def import_pages(self, staging: Many[Run], slot_page: int) -> None:
        self.done.append("copy")

    def export_pages(self, slot_page: int, staging: Many[Run]) -> None:
        self.done.append("copy back")

    def emit(self, emits: Many[Emit]) -> None:
        self.done += ["first token"] * len(emits)
        self.ended.release()

    def export(self, action: ExportPages | WritePages) -> None:
        self.done.append(f"write {sum(run.count for run in action.staging)}")

    def send(self, action: Action) -> None:
        assert isinstance(action, SendCommit), action  # it waits for the writes

    def fatal(self, reason: str) -> None:
        self.done.append(reason)
        self.ended.release()


def test_the_step_loop_sends_known_pages_before_it_computes() -> None:
    core = make_core()
    served(core, 1, range(30))
    shell: Any = Shell()
    loop = StepLoop(core, shell, shell, shell, EngineStatistics)
    loop.start()

    def ask(now: float) -> None:
        start(core, 2, range(40), until=now + 60)

    loop.post(ask)
    try:
        assert shell.ended.acquire(timeout=20)
    finally:
        loop.stop()
    assert shell.done[:3] == ["copy", "write 7", "compute from 28"]
    assert shell.done[3:] == ["copy back", "write 1", "compute from 32", "first token", "copy back", "write 2"]
