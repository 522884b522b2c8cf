"""The step loop with a scripted model: what it samples, and how it ends when something breaks."""

from __future__ import annotations

import threading
from collections.abc import Sequence as Many
from typing import Any

import pytest
import torch
from pdpanel.engine.actions import Action, Emit, ExportPages, WritePages
from pdpanel.engine.errors import RankError
from pdpanel.engine.lifecycle import UNIFIED
from pdpanel.engine.pages import Owner, PagePool
from pdpanel.engine.request import Finish, FinishKind, GenerateRequest, SamplingParams
from pdpanel.engine.schedule import Schedule
from pdpanel.engine.sequence import Sequence
from pdpanel.engine.statistics import EngineStatistics
from pdpanel.engine.step_loop import StepLoop
from pdpanel.engine.unified_core import UnifiedCore

VOCAB, EOS = 8, 7


class Listener:
    """Collects what the loop says."""

    def __init__(self) -> None:
        self.emits: list[Emit] = []
        self.reason = ""
        self.changed = threading.Condition()

    def emit(self, emits: Many[Emit]) -> None:
        with self.changed:
            self.emits += emits
            self.changed.notify_all()

    def export(self, action: ExportPages | WritePages) -> None:
        raise AssertionError("a unified worker exports nothing")

    def send(self, action: Action) -> None:
        raise AssertionError("a unified worker sends nothing")

    def fatal(self, reason: str) -> None:
        with self.changed:
            self.reason = reason
            self.changed.notify_all()

    def wait(self, condition: Any) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, 20)

    def finish(self, key: int) -> Finish | None:
        return next((emit.finish for emit in self.emits if emit.key == key and emit.finish), None)

    def tokens(self, key: int) -> list[int]:
        return [token for emit in self.emits if emit.key == key for token in emit.token_ids]


class Model:
    """Likes EOS best and 3 next, unless the prompt begins with a token that makes it break."""

    def forward(self, spans: Many[Any], kv: Any) -> torch.Tensor:
        rows = []
        for span in spans:
            if 6 in span.tokens:
                raise ValueError("the kernel failed")
            row = torch.zeros(VOCAB)
            row[EOS], row[3] = 2.0, 1.0
            if 5 in span.tokens:
                row[0] = float("nan")
            rows.append(row)
        return torch.stack(rows)


class Slots:
    def first_token(self, slot: Any) -> int:
        return slot.start * 4


def sequence(key: int, prompt: tuple[int, ...], **sampling: Any) -> Sequence:
    request = GenerateRequest(f"r{key}", prompt, SamplingParams(temperature=0, **sampling))
    limit = len(prompt) + (request.sampling.max_new_tokens or 0)
    return Sequence(key, request, UNIFIED, 0, limit, frozenset({EOS}), list(prompt), UNIFIED.start)


@pytest.fixture
def running():
    listener = Listener()
    schedule = Schedule(PagePool(16), page_size=4, chunk_tokens=16, max_running=8, reserve_tokens=4)
    core = UnifiedCore(schedule)
    model: Any = Model()
    slots: Any = Slots()
    loop = StepLoop(core, model, slots, listener, EngineStatistics)
    loop.start()
    yield loop, core, listener
    loop.stop()


def test_a_stop_token_waits_for_the_minimum(running) -> None:
    loop, core, listener = running
    for one in (sequence(1, (1,), max_new_tokens=9), sequence(2, (1,), max_new_tokens=9, min_new_tokens=3)):
        loop.post(lambda now, one=one: core.submit(one, now))
    listener.wait(lambda: listener.finish(1) and listener.finish(2))
    assert listener.tokens(1) == [EOS]
    assert listener.tokens(2) == [3, 3, 3, EOS]


def test_unusable_logits_end_their_own_request_alone(running) -> None:
    loop, core, listener = running
    for one in (sequence(1, (5,), max_new_tokens=3), sequence(2, (1,), max_new_tokens=3)):
        loop.post(lambda now, one=one: core.submit(one, now))
    listener.wait(lambda: listener.finish(1) and listener.finish(2))
    broken, sound = listener.finish(1), listener.finish(2)
    assert broken is not None and sound is not None
    assert broken.kind is FinishKind.ABORT and "r1" in broken.message
    assert sound.kind is FinishKind.STOP
    assert core.schedule.slots.statistics().free == 16


def test_a_failing_step_is_fatal_with_its_reason(running) -> None:
    loop, core, listener = running
    loop.post(lambda now: core.submit(sequence(1, (6,), max_new_tokens=3), now))
    listener.wait(lambda: listener.reason)
    assert listener.reason == "ValueError: the kernel failed"


class FewerRanks(Model):
    """Its passes break until `recover` was called; what follows is as if nothing had happened."""

    def __init__(self, *, recovers: bool) -> None:
        self.broken = self.recovers = recovers
        self.recovered = 0

    def forward(self, spans: Many[Any], kv: Any) -> torch.Tensor:
        if self.broken or not self.recovers:
            raise RankError("Rank 1 is gone.")
        return super().forward(spans, kv)

    def recover(self) -> bool:
        found, self.broken = self.broken, False
        self.recovered += found
        return found


def loop_over(model: Any) -> tuple[StepLoop, UnifiedCore, Listener]:
    core = UnifiedCore(Schedule(PagePool(16), page_size=4, chunk_tokens=16, max_running=8, reserve_tokens=4))
    listener, slots = Listener(), Slots()
    kv: Any = slots
    loop = StepLoop(core, model, kv, listener, EngineStatistics)
    loop.start()
    return loop, core, listener


def test_a_pass_that_breaks_with_a_rank_is_made_again_by_those_that_are_left() -> None:
    model = FewerRanks(recovers=True)
    loop, core, listener = loop_over(model)
    loop.post(lambda now: core.submit(sequence(1, (1,), max_new_tokens=4, min_new_tokens=2), now))
    listener.wait(lambda: listener.finish(1))
    model.broken = True  # while nothing computes
    loop.ranks_changed()
    loop.post(lambda now: core.submit(sequence(2, (1,), max_new_tokens=4, min_new_tokens=2), now))
    listener.wait(lambda: listener.finish(2))
    loop.stop()
    assert listener.tokens(1) == listener.tokens(2) == [3, 3, EOS]
    assert model.recovered == 2 and not listener.reason


def test_a_worker_that_cannot_go_on_without_a_rank_says_which() -> None:
    loop, core, listener = loop_over(FewerRanks(recovers=False))
    loop.post(lambda now: core.submit(sequence(1, (1,), max_new_tokens=4), now))
    listener.wait(lambda: listener.reason)
    loop.stop()
    assert listener.reason == "Rank 1 is gone."


def test_who_has_the_last_token_finds_the_pages_free() -> None:
    """The statistics are not taken at every step, but before anybody hears of an end."""
    core = UnifiedCore(Schedule(PagePool(16), page_size=4, chunk_tokens=16, max_running=8, reserve_tokens=4))
    used: list[int] = []

    class Reader(Listener):
        def emit(self, emits: Many[Emit]) -> None:
            used.append(loop.observed.used_tokens)
            super().emit(emits)

    listener, model, slots = Reader(), Model(), Slots()
    kv: Any = slots
    executor: Any = model
    loop = StepLoop(
        core, executor, kv, listener, lambda: EngineStatistics(used_tokens=core.schedule.slots.statistics().held)
    )
    loop.start()
    loop.post(lambda now: core.submit(sequence(1, (1,), max_new_tokens=9, min_new_tokens=3), now))
    listener.wait(lambda: listener.finish(1))
    loop.stop()
    assert used[-1] == 0 and any(used)


def test_a_pause_between_steps_lets_others_compute_and_keeps_nobody_waiting() -> None:
    class Patient(UnifiedCore):
        @property
        def pauses(self) -> int:
            return 1 << 40  # longer than any test

    core = Patient(Schedule(PagePool(16), page_size=4, chunk_tokens=16, max_running=8, reserve_tokens=4))
    listener = Listener()
    model: Any = Model()
    slots: Any = Slots()
    loop = StepLoop(core, model, slots, listener, EngineStatistics)
    loop.start()
    first = sequence(1, (1,), max_new_tokens=9, min_new_tokens=9)
    loop.post(lambda now: core.submit(first, now))
    listener.wait(lambda: len(listener.tokens(1)) == 2)
    loop.post(lambda now: core.abort(first, Finish(FinishKind.ABORT, message="enough"), now))
    listener.wait(lambda: listener.finish(1))
    loop.stop()
    assert len(listener.tokens(1)) == 2, "the prompt's token and one more"


def test_lost_pages_are_found_when_the_loop_ends(running, caplog: pytest.LogCaptureFixture) -> None:
    loop, core, listener = running
    loop.post(lambda now: core.submit(sequence(1, (1,), max_new_tokens=3), now))
    listener.wait(lambda: listener.finish(1))
    loop.post(lambda now: core.schedule.slots.alloc(2, Owner.request(99)))
    loop.stop()
    assert loop.integrity_errors == 1
    assert "integrity_error" in caplog.text
