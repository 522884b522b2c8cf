"""Several cores joined: each decides as if it were alone, and what is said of a room reaches the core that knows it."""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine.actions import Action, Emit, ImportPages, SendAck, SendDrained, SendGrant
from pdpanel.engine.decode_core import DecodeCore
from pdpanel.engine.lifecycle import DECODE, PREFILL, UNIFIED, State
from pdpanel.engine.pages import PagePool, Run
from pdpanel.engine.parallel.balance import Balancer, LoadBalance
from pdpanel.engine.parallel.groups import DecodeGroups, JoinedStep, PrefillGroups, UnifiedGroups
from pdpanel.engine.prefill_core import PrefillCore
from pdpanel.engine.request import Bootstrap, Finish, FinishKind, GenerateRequest, SamplingParams
from pdpanel.engine.schedule import Schedule, StepKind
from pdpanel.engine.sequence import Sequence
from pdpanel.engine.unified_core import UnifiedCore

PAGE, PAGES, CHUNK, EOS = 4, 12, 16, 7
GONE = Finish(FinishKind.ABORT, message="the client left", http_status=499)


def schedule(reserve: int = 0, mixed: bool = False) -> Schedule:
    return Schedule(
        PagePool(PAGES), page_size=PAGE, chunk_tokens=CHUNK, max_running=4, reserve_tokens=reserve, mixed=mixed
    )


def sequence(key: int, prompt: int, output: int = 4, cycle=UNIFIED, peer: str = "") -> Sequence:
    bootstrap = None if cycle is UNIFIED else Bootstrap("127.0.0.1", 1, key)
    request = GenerateRequest(f"r{key}", tuple(range(prompt)), SamplingParams(max_new_tokens=output), bootstrap)
    return Sequence(
        key, request, cycle, seed=0, limit=prompt + output, stop_ids=frozenset({EOS}),
        tokens=list(request.prompt_ids), state=cycle.start, peer=peer,
    )  # fmt: skip


def prefill_core() -> PrefillCore:
    return PrefillCore(schedule(), PagePool(PAGES), bootstrap_timeout_s=9, hard_timeout_s=9)


def decode_core() -> DecodeCore:
    return DecodeCore(schedule(4), PagePool(PAGES), staging_share=1.0, waiting_timeout_s=9, fence_s=9)


def groups(kind: Any, core: Any, method: LoadBalance = LoadBalance.ROUND_ROBIN, count: int = 2) -> Any:
    return kind((core() for _ in range(count)), Balancer(method))


def actions_of(core: Any) -> list[Action]:
    actions, core.actions = core.actions, []
    return actions


class Twins:
    """A joined core, and beside it the same cores alone, which get what it takes to each."""

    def __init__(self, count: int, mixed: bool) -> None:
        self.joined = UnifiedGroups(
            (UnifiedCore(schedule(4, mixed)) for _ in range(count)), Balancer(LoadBalance.TOTAL_TOKENS)
        )
        self.alone = [UnifiedCore(schedule(4, mixed)) for _ in range(count)]
        self.both: dict[int, tuple[Sequence, Sequence]] = {}
        self.ended: set[int] = set()

    def submit(self, prompt: int, output: int) -> None:
        key = len(self.both) + 1
        mine, other = sequence(key, prompt, output), sequence(key, prompt, output)
        self.both[key] = mine, other
        self.joined.submit(mine, 0.0)
        self.alone[mine.group].submit(other, 0.0)

    def restart(self) -> None:
        self.joined.restart()
        for core in self.alone:
            core.restart()

    def abort(self, number: int) -> None:
        mine, other = self.both[number % len(self.both) + 1]
        self.joined.abort(mine, GONE, 0.0)
        self.alone[mine.group].abort(other, GONE, 0.0)

    def step(self, token: int) -> bool:
        step = self.joined.next_step()
        parts = {} if step is None else dict(step.parts if isinstance(step, JoinedStep) else ())
        tokens: list[int] = []
        drawn: dict[int, list[int]] = {}
        for group, core in enumerate(self.alone):
            own = core.next_step()
            assert (own is None) == (group not in parts)
            if own is None:
                continue
            assert self.shown(own) == self.shown(parts[group])
            drawn[group] = [(token + 3 * group + n) % (EOS + 1) for n, s in enumerate(own.spans) if s.sample]
            tokens += drawn[group]
            core.step_done(own, drawn[group], 0.0)
        if step is not None:
            assert [s.sequence.group for s in step.spans] == sorted(s.sequence.group for s in step.spans)
            assert sum(s.sample for s in step.spans) == len(tokens)
            self.joined.step_done(step, tokens, 0.0)
        self.compare()
        return step is not None

    @staticmethod
    def shown(step: Any) -> Any:
        return step.kind, step.moves, [(s.sequence.key, s.start, s.stop, s.sample, s.apart) for s in step.spans]

    def compare(self) -> None:
        emits = [action for action in actions_of(self.joined) if isinstance(action, Emit)]
        others = [action for core in self.alone for action in actions_of(core)]
        assert emits == others
        for emit in emits:
            assert emit.key not in self.ended
            if emit.finish is not None:
                self.ended.add(emit.key)
        assert self.joined.integrity() == []


OPERATIONS = st.one_of(
    st.tuples(st.just("submit"), st.integers(1, 30), st.integers(1, 12)),
    st.tuples(st.just("abort"), st.integers(0, 20), st.just(0)),
    st.tuples(st.just("restart"), st.just(0), st.just(0)),
    st.tuples(st.just("step"), st.integers(0, EOS), st.just(0)),
    st.tuples(st.just("step"), st.integers(0, EOS), st.just(0)),
)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 4), st.booleans(), st.lists(OPERATIONS, max_size=60))
def test_joined_cores_do_what_they_do_alone(count: int, mixed: bool, operations: list[tuple[str, int, int]]) -> None:
    twins = Twins(count, mixed)
    for name, one, other in operations:
        if name == "submit":
            twins.submit(one, other)
        elif name == "abort" and twins.both:
            twins.abort(one)
        elif name == "restart":
            twins.restart()
        elif name == "step":
            twins.step(one)
    while twins.step(3):
        pass
    assert twins.ended == set(twins.both), "a request has no end"
    assert all(core.schedule.slots.free == PAGES for core in twins.joined.cores)


def test_a_step_holds_what_each_group_has_to_do() -> None:
    joined = groups(UnifiedGroups, lambda: UnifiedCore(schedule(4)), count=3)
    first, second = sequence(1, 3, 9), sequence(2, 5, 9)
    joined.submit(first, 0.0)
    step = joined.next_step()
    assert step is not None and (step.kind, len(step.spans)) == (StepKind.PREFILL, 1)
    joined.step_done(step, [1], 0.0)
    joined.submit(second, 0.0)
    step = joined.next_step()
    assert step is not None and step.kind is StepKind.MIXED
    assert [(s.sequence.key, s.sequence.group) for s in step.spans] == [(1, 0), (2, 1)]
    joined.step_done(step, [2, 3], 0.0)
    assert (first.tokens[-1], second.tokens[-1]) == (2, 3)
    assert joined.generated == [2, 1, 0]
    step = joined.next_step()
    assert step is not None and step.kind is StepKind.DECODE


def test_a_move_is_within_its_group() -> None:
    """The second group's sequence outgrows its slot beside another one."""
    joined = groups(UnifiedGroups, lambda: UnifiedCore(schedule(0)))
    moved, idle = [], sequence(1, 1, 1)
    joined.submit(idle, 0.0)
    joined.abort(idle, GONE, 0.0)
    for key, prompt in ((2, 4), (3, 4)):
        joined.submit(sequence(key, prompt, 20), 0.0)
        joined._balancer._next = 1  # the second group, again
    for _ in range(8):
        step = joined.next_step()
        assert step is not None
        moved += step.moves
        joined.step_done(step, [1] * sum(s.sample for s in step.spans), 0.0)
    assert moved and {move.group for move in moved} == {1}


def test_the_busiest_group_asks_for_the_pauses() -> None:
    joined = DecodeGroups(
        (DecodeCore(schedule(4), PagePool(PAGES), staging_share=1.0, waiting_timeout_s=9, fence_s=9, gives_way=True)
         for _ in range(2)),
        Balancer(LoadBalance.FOLLOW_BOOTSTRAP_ROOM),
    )  # fmt: skip
    for room in (1, 3, 5, 2):
        joined.submit(sequence(room, 4, 4, DECODE, "P"), 0.0)
    assert [core.pauses for core in joined.cores] == [0, 1] and joined.pauses == 1


def grants(actions: Many[Action]) -> dict[int, tuple[Run, ...]]:
    return {a.sequence.room: a.sequence.staging for a in actions if isinstance(a, SendGrant)}


@pytest.mark.parametrize("method", [LoadBalance.ROUND_ROBIN, LoadBalance.TOTAL_TOKENS])
def test_a_grant_that_comes_first_decides_the_group(method: LoadBalance) -> None:
    """Whatever is submitted in between, its request finds it; the tokens that it promises count meanwhile."""
    joined = groups(PrefillGroups, prefill_core, method)
    joined.grant("D", 5, (Run(0, 8),), 60.0, 0.0)
    assert joined.cores[0].expected_tokens == 8 * PAGE
    others = [sequence(key, 4, 4, PREFILL) for key in (1, 2, 3)]
    for one in others:
        joined.submit(one, 0.0)
    expected = [1, 0, 1] if method is LoadBalance.ROUND_ROBIN else [1, 1, 1]
    assert [one.group for one in others] == expected
    late = sequence(5, 8 * PAGE, 4, PREFILL)
    joined.submit(late, 0.0)
    assert (late.group, late.state) == (0, State.QUEUED)


def test_a_room_that_was_given_up_before_its_request_came_is_refused() -> None:
    joined = groups(PrefillGroups, prefill_core)
    joined.peer_aborted("D", 5, "no room", 0.0)
    assert actions_of(joined) == [SendDrained("D", 5)]
    joined.submit(sequence(1, 4, 4, PREFILL), 0.0)
    late = sequence(5, 4, 4, PREFILL)
    joined.submit(late, 0.0)
    assert late.state is State.CLOSED
    finishes = [action.finish for action in actions_of(joined) if isinstance(action, Emit)]
    assert finishes == [Finish(FinishKind.ABORT, message="no room", http_status=502)]


def test_a_room_at_work_in_one_group_is_refused_in_all() -> None:
    for kind, core, cycle in ((PrefillGroups, prefill_core, PREFILL), (DecodeGroups, decode_core, DECODE)):
        joined = groups(kind, core)
        joined.submit(sequence(9, 4, 4, cycle, "P"), 0.0)
        actions_of(joined)
        again = sequence(9, 4, 4, cycle, "P")
        again.key = 10
        joined.submit(again, 0.0)
        (emit,) = [action for action in actions_of(joined) if isinstance(action, Emit)]
        assert emit.key == 10 and emit.finish is not None and emit.finish.http_status == 409


def test_what_prefill_says_reaches_the_group_of_the_room() -> None:
    joined = groups(DecodeGroups, decode_core)
    both = [sequence(room, 6, 4, DECODE, "P") for room in (10, 20)]
    for one in both:
        joined.submit(one, 0.0)
    assert sorted(grants(actions_of(joined))) == [10, 20]
    assert set(joined.granted) == {10, 20}
    joined.arrived("P", 20, 1)
    (copied,) = [action for action in actions_of(joined) if isinstance(action, ImportPages)]
    assert (copied.sequence, copied.sequence.group) == (both[1], 1)
    assert joined.committed("P", 20, 3, 0.0)
    assert not joined.committed("P", 20, 3, 0.0), "it comes again"
    acks = [action for action in actions_of(joined) if isinstance(action, SendAck)]
    assert acks == [SendAck("P", 20, known=True)] * 2, "the group that took it remembers"
    joined.peer_aborted("P", 10, "gone", 0.0)
    assert both[0].state is State.FENCING and joined.fenced_peers == {"P"}
    joined.drained("P", 10, 0.0)
    assert both[0].state is State.CLOSED and not joined.fenced_peers
    assert joined.stale_messages == 1
    assert not joined.committed("P", 99, 3, 0.0)
    assert actions_of(joined)[-1] == SendAck("P", 99, known=False)


def test_a_peer_that_is_lost_is_lost_for_all_groups() -> None:
    joined = groups(DecodeGroups, decode_core)
    both = [sequence(room, 6, 4, DECODE, "P") for room in (1, 2)]
    for one in both:
        joined.submit(one, 0.0)
    joined.peer_lost("P", "it went away", 0.0, unsent=[2])
    assert [one.state for one in both] == [State.FENCING, State.CLOSED], "nobody can write what was never granted"
    joined.peer_replaced("P", 1.0)
    joined.tick(3.0)
    assert both[0].state is State.CLOSED
    assert all(core.staging.free == PAGES for core in joined.cores)


def test_a_problem_names_its_group() -> None:
    joined = groups(UnifiedGroups, lambda: UnifiedCore(schedule(4)))
    joined.cores[1].schedule.take_slot(sequence(8, 4), 1)
    (problem,) = joined.integrity()
    assert problem.startswith("Group 1: ")
