"""KV that is lost at any time: everything is computed again from its tokens, and nothing else changes."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine.actions import Emit
from pdpanel.engine.lifecycle import UNIFIED
from pdpanel.engine.pages import PagePool
from pdpanel.engine.request import Finish, FinishKind, GenerateRequest, SamplingParams
from pdpanel.engine.schedule import Schedule
from pdpanel.engine.sequence import Sequence
from pdpanel.engine.unified_core import UnifiedCore

PAGES = 24


def sequence(key: int, prompt: int, output: int) -> Sequence:
    ids = tuple(range(1, prompt + 1))
    request = GenerateRequest(f"r{key}", ids, SamplingParams(temperature=0, max_new_tokens=output))
    return Sequence(key, request, UNIFIED, 0, prompt + output, frozenset(), list(ids), UNIFIED.start)


@dataclass
class Memory:
    """What the KV of each sequence's slot was computed from; the model below reads it, as attention would."""

    tokens: dict[int, list[int]] = field(default_factory=dict)

    def compute(self, one: Sequence, start: int, stop: int) -> int:
        """Returns the token behind `stop`, which depends on all before it."""
        held = self.tokens.get(one.key, [])
        assert len(held) >= start, "computed over KV that is not there"
        self.tokens[one.key] = [*held[:start], *one.tokens[start:stop]]
        return (7 * sum(self.tokens[one.key]) + stop) % 101


def run(requests: list[tuple[int, int]], restarts: set[int], mixed: bool) -> dict[int, list[int]]:
    pool = PagePool(PAGES)
    schedule = Schedule(pool, page_size=4, chunk_tokens=8, max_running=4, reserve_tokens=4, mixed=mixed)
    core, memory = UnifiedCore(schedule), Memory()
    for key, (prompt, output) in enumerate(requests):
        core.submit(sequence(key, prompt, output), 0.0)
    made: dict[int, list[int]] = {key: [] for key in range(len(requests))}
    ended: list[int] = []
    for number in range(2000):
        if number in restarts:  # in place of a step, or between two
            core.restart()
            memory.tokens.clear()
            assert not core.integrity() and not schedule.running and pool.free == PAGES
        step = core.next_step()
        if step is None:
            break
        drawn = [(span, memory.compute(span.sequence, span.start, span.stop)) for span in step.spans]
        core.step_done(step, [token for span, token in drawn if span.sample], 0.0)
        for action in core.actions:
            assert isinstance(action, Emit)
            made[action.key] += action.token_ids
            ended += [action.key] if action.finish is not None else []
        core.actions = []
    assert sorted(ended) == [*range(len(requests))], "each ends once"
    assert pool.free == PAGES and not core.integrity()
    return made


@settings(max_examples=60, deadline=None)
@given(
    requests=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 20)), min_size=1, max_size=6),
    restarts=st.sets(st.integers(0, 60), max_size=4),
    mixed=st.booleans(),
)
def test_answers_are_those_of_a_worker_that_lost_nothing(
    requests: list[tuple[int, int]], restarts: set[int], mixed: bool
) -> None:
    assert run(requests, restarts, mixed) == run(requests, set(), mixed)


def test_those_that_ran_come_before_those_that_waited_and_the_oldest_first() -> None:
    schedule = Schedule(PagePool(PAGES), page_size=4, chunk_tokens=8, max_running=2, reserve_tokens=4)
    core = UnifiedCore(schedule)
    for key in range(4):
        core.submit(sequence(key, 6, 9), 0.0)
    step = core.next_step()
    assert step is not None and [span.sequence.key for span in step.spans] == [0]
    core.restart()
    assert [one.key for one in schedule.waiting] == [0, 1, 2, 3]
    assert all(one.computed == 0 and one.slot is None for one in schedule.waiting)
    core.next_step()
    assert [one.key for one in schedule.prefilling] == [0, 1], "both come back at once"
    gone = schedule.prefilling[0]
    core.abort(gone, Finish(FinishKind.ABORT, message="enough"), 0.0)
    core.restart()
    assert [one.key for one in schedule.waiting] == [1, 2, 3]


def test_scores_of_half_a_prompt_are_not_counted_twice() -> None:
    schedule = Schedule(PagePool(PAGES), page_size=4, chunk_tokens=8, max_running=2, reserve_tokens=4)
    core = UnifiedCore(schedule)
    one = sequence(0, 20, 3)
    core.submit(one, 0.0)
    step = core.next_step()
    assert step is not None and not step.spans[0].sample
    one.prompt_scores += [object()] * 8  # type: ignore[list-item]
    core.step_done(step, [], 0.0)
    core.restart()
    assert one.prompt_scores == []
