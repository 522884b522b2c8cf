"""A prefill and a decode core joined by queues: whatever happens in whatever order, nothing leaks.

The channel between them is ordered in each direction, as the real one is; writes complete in any order, late, or
fail, with or without the promise that the writer is quiet. A page carries the room that wrote it last, so a write
into somebody else's page is seen.
"""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pdpanel.engine.actions import (
    Action,
    Emit,
    ExportPages,
    ImportPages,
    SendAbort,
    SendAck,
    SendCommit,
    SendDrained,
    SendGrant,
)
from pdpanel.engine.decode_core import DecodeCore
from pdpanel.engine.lifecycle import DECODE, PREFILL, UNIFIED, State
from pdpanel.engine.pages import Owner, PagePool
from pdpanel.engine.prefill_core import PrefillCore
from pdpanel.engine.request import Bootstrap, Finish, FinishKind, GenerateRequest, SamplingParams
from pdpanel.engine.schedule import Schedule
from pdpanel.engine.sequence import Sequence
from pdpanel.engine.unified_core import UnifiedCore

PAGE, PAGES, CHUNK = 4, 24, 16
HARD = 30.0
EOS = 7
GONE = Finish(FinishKind.ABORT, message="the client left", http_status=499)


def make_sequence(key: int, prompt: int, output: int, cycle=UNIFIED, peer: str = "") -> Sequence:
    bootstrap = None if cycle is UNIFIED else Bootstrap("127.0.0.1", 1, key)
    request = GenerateRequest(f"r{key}", tuple(range(prompt)), SamplingParams(max_new_tokens=output), bootstrap)
    return Sequence(
        key, request, cycle, seed=0, limit=prompt + output, stop_ids=frozenset({EOS}),
        tokens=list(request.prompt_ids), state=cycle.start, peer=peer,
    )  # fmt: skip


def make_schedule(reserve: int, pages: int = PAGES) -> Schedule:
    return Schedule(PagePool(pages), page_size=PAGE, chunk_tokens=CHUNK, max_running=4, reserve_tokens=reserve)


class Pair(RuleBasedStateMachine):
    """One prefill worker, one decode worker, and everything that can go wrong between them."""

    @initialize()
    def start(self) -> None:
        self.now = 0.0
        self.prefill = PrefillCore(make_schedule(0), PagePool(PAGES), bootstrap_timeout_s=50, hard_timeout_s=HARD)
        self.decode = DecodeCore(
            make_schedule(6), PagePool(PAGES), staging_share=0.5, waiting_timeout_s=50, fence_s=HARD
        )
        self.to_prefill: deque[Action] = deque()
        self.to_decode: deque[Action] = deque()
        self.writes: list[ExportPages] = []
        self.began: dict[int, float] = {}  # id of a write -> when it began
        self.zombies: list[tuple[float, ExportPages]] = []
        self.sequences: dict[int, tuple[Sequence, Sequence]] = {}
        self.finished: dict[tuple[str, int], int] = {}
        self.written: dict[int, int] = {}  # staging page of decode -> room that wrote it last
        self.next_key = 1

    def run_actions(self) -> None:
        for side, core in (("prefill", self.prefill), ("decode", self.decode)):
            actions, core.actions = core.actions, []
            for action in actions:
                match action:
                    case Emit(key=key, finish=finish, end=end):
                        if finish is not None or end:
                            self.finished[side, key] = self.finished.get((side, key), 0) + 1
                    case ExportPages():
                        self.writes.append(action)
                        self.began[id(action)] = self.now
                    case ImportPages(sequence=sequence, staging=staging):
                        for run in staging:
                            for page in range(run.start, run.stop):
                                assert self.written[page] == sequence.room, "KV of another request was read"
                    case SendGrant() | SendAck():
                        self.to_prefill.append(action)
                    case SendCommit() | SendDrained():
                        self.to_decode.append(action)
                    case SendAbort():
                        (self.to_decode if side == "prefill" else self.to_prefill).append(action)

    @rule(prompt=st.integers(1, 40), output=st.integers(1, 12), decode_first=st.booleans())
    def submit(self, prompt: int, output: int, decode_first: bool) -> None:
        key, self.next_key = self.next_key, self.next_key + 1
        halves = make_sequence(key, prompt, output, PREFILL), make_sequence(key, prompt, output, DECODE, "P")
        self.sequences[key] = halves
        first, second = (1, 0) if decode_first else (0, 1)
        for index in (first, second):
            (self.prefill, self.decode)[index].submit(halves[index], self.now)
            self.run_actions()

    @precondition(lambda self: self.to_prefill)
    @rule()
    def deliver_to_prefill(self) -> None:
        match self.to_prefill.popleft():
            case SendGrant(sequence=sequence):
                self.prefill.grant("D", sequence.room, sequence.staging, sequence.deadline, self.now)
            case SendAck(room=room, known=known):
                self.prefill.acknowledged("D", room, known, self.now)
            case SendAbort(room=room, reason=reason):
                self.prefill.peer_aborted("D", room, reason, self.now)
        self.run_actions()

    @precondition(lambda self: self.to_decode)
    @rule()
    def deliver_to_decode(self) -> None:
        match self.to_decode.popleft():
            case SendCommit(sequence=sequence, first_token=token):
                self.decode.committed("P", sequence.room, token, self.now)
            case SendDrained(room=room):
                self.decode.drained("P", room, self.now)
            case SendAbort(room=room, reason=reason):
                self.decode.peer_aborted("P", room, reason, self.now)
        self.run_actions()

    def land(self, write: ExportPages) -> None:
        for run in write.target:
            for page in range(run.start, run.stop):
                owners = [s for _, s in self.sequences.values() if any(r.start <= page < r.stop for r in s.staging)]
                assert all(s.room == write.sequence.room for s in owners), "a write hit another request's page"
                self.written[page] = write.sequence.room

    @precondition(lambda self: self.writes)
    @rule(data=st.data(), outcome=st.sampled_from(["ok", "ok", "ok", "quiet", "loud"]))
    def finish_write(self, data: st.DataObject, outcome: str) -> None:
        write = self.writes.pop(data.draw(st.integers(0, len(self.writes) - 1)))
        if outcome == "ok":
            self.land(write)
        elif outcome == "loud":  # reported as failed, may still land within the hard timeout
            self.zombies.append((self.began[id(write)] + HARD, write))
        self.prefill.write_done(
            write.sequence, ok=outcome == "ok", quiet=outcome != "loud", error="it broke", now=self.now
        )
        self.run_actions()

    @precondition(lambda self: self.sequences)
    @rule(data=st.data(), side=st.integers(0, 1))
    def client_leaves(self, data: st.DataObject, side: int) -> None:
        sequence = self.sequences[data.draw(st.sampled_from(sorted(self.sequences)))][side]
        (self.prefill, self.decode)[side].abort(sequence, GONE, self.now)
        self.run_actions()

    @rule(token=st.integers(0, EOS))
    def step_prefill(self, token: int) -> None:
        self.step(self.prefill, token)

    @rule(token=st.integers(0, EOS))
    def step_decode(self, token: int) -> None:
        self.step(self.decode, token)

    def step(self, core: PrefillCore | DecodeCore, token: int) -> None:
        step = core.next_step()
        if step is not None:
            for span in step.spans:
                assert span.sequence.slot is not None
                assert span.stop <= span.sequence.slot.count * PAGE
            core.step_done(step, [token] * sum(span.sample for span in step.spans), self.now)
        self.run_actions()

    @rule(seconds=st.sampled_from([0.1, 20.0]))
    def time_passes(self, seconds: float) -> None:
        if seconds > 1:  # a process that runs ticks more often than that
            for _ in range(int(seconds) - 1):
                self.time_passes(1.0)
            seconds = 1.0
        for until, write in self.zombies if seconds >= 1 else ():
            if until > self.now:
                self.land(write)
        for write in [w for w in self.writes if self.began[id(w)] + HARD <= self.now + seconds]:
            self.writes.remove(write)  # no transport takes longer than its hard timeout
            self.land(write)
            self.prefill.write_done(write.sequence, ok=True, quiet=True, error="", now=self.now)
        self.run_actions()
        self.now += seconds
        self.prefill.tick(self.now)
        self.decode.tick(self.now)
        self.run_actions()

    @rule()
    def connection_breaks(self) -> None:
        self.to_prefill.clear()
        self.to_decode.clear()
        self.prefill.peer_lost("D", "decode went away", self.now)
        self.decode.peer_lost("P", "prefill went away", self.now)
        self.run_actions()

    @invariant()
    def pools_are_sound(self) -> None:
        if not hasattr(self, "prefill"):
            return
        for core in (self.prefill, self.decode):
            core.staging.check()
            core.schedule.slots.check()
            for sequence in core.schedule.sequences():
                sequence.check(PAGE)
        assert all(count == 1 for count in self.finished.values())

    def teardown(self) -> None:
        if not hasattr(self, "prefill"):
            return
        for _ in range(2000):
            if self.to_prefill:
                self.deliver_to_prefill()
            elif self.to_decode:
                self.deliver_to_decode()
            elif self.writes:
                write = self.writes.pop()
                self.land(write)
                self.prefill.write_done(write.sequence, ok=True, quiet=True, error="", now=self.now)
                self.run_actions()
            else:
                self.step_prefill(EOS)
                self.step_decode(EOS)
                if not (self.to_prefill or self.to_decode or self.writes):
                    self.time_passes(20.0)
                    if all(s.state is State.CLOSED for pair in self.sequences.values() for s in pair):
                        break
        self.time_passes(200.0)
        for side, (core, index) in {"prefill": (self.prefill, 0), "decode": (self.decode, 1)}.items():
            for key, pair in self.sequences.items():
                assert pair[index].state is State.CLOSED, (side, pair[index])
                assert self.finished.get((side, key), 0) == 1, (side, pair[index])
            assert core.staging.statistics().free == PAGES, (side, core.staging.statistics())
            assert core.schedule.slots.statistics().free == PAGES, (side, core.schedule.slots.statistics())
        self.pools_are_sound()


TestPair = Pair.TestCase
TestPair.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_pages_of_a_chunk_travel_while_the_next_is_computed() -> None:
    """A prompt of three chunks and a bit is at most chunks + 1 exports, whole pages first, all of them once."""
    core = PrefillCore(make_schedule(0), PagePool(PAGES), bootstrap_timeout_s=9, hard_timeout_s=9)
    sequence = make_sequence(1, 3 * CHUNK + 5, 4, PREFILL)
    core.submit(sequence, 0.0)
    assert core.next_step() is None, "nothing is computed before decode granted pages"
    target = PagePool(PAGES)
    runs = target.alloc(14, Owner.writer(1))
    assert runs is not None
    core.grant("D", 1, runs, 60.0, 0.0)
    exports: list[int] = []
    while (step := core.next_step()) is not None:
        core.step_done(step, [1] * sum(s.sample for s in step.spans), 0.0)
        exports += [sum(r.count for r in a.staging) for a in core.actions if isinstance(a, ExportPages)]
        core.actions = []
    assert exports == [4, 4, 4, 2]


def test_a_sequence_that_outgrows_its_slot_moves_and_the_youngest_gives_way() -> None:
    schedule = make_schedule(reserve=1, pages=6)
    core = UnifiedCore(schedule)
    old, young = make_sequence(1, 7, 17), make_sequence(2, 7, 9)
    for sequence in (old, young):
        core.submit(sequence, 0.0)
    finished: list[int] = []
    for _ in range(60):
        step = core.next_step()
        if step is None:
            break
        core.step_done(step, [1] * sum(s.sample for s in step.spans), 0.0)
        schedule.slots.check()
        finished += [a.key for a in core.actions if isinstance(a, Emit) and a.finish]
        core.actions = []
    assert finished == [1, 2]
    assert schedule.preemptions >= 1
    assert (old.output_tokens, young.output_tokens) == (17, 9)
    assert schedule.slots.statistics().free == 6


def test_chunks_are_cut_at_the_same_places_whatever_the_neighbours() -> None:
    core = UnifiedCore(make_schedule(reserve=0))
    for key, prompt in ((1, 5), (2, 20), (3, 9)):
        core.submit(make_sequence(key, prompt, 1), 0.0)
    cuts: dict[int, list[tuple[int, int]]] = {1: [], 2: [], 3: []}
    while (step := core.next_step()) is not None:
        for span in step.spans:
            cuts[span.sequence.key].append((span.start, span.stop))
        core.step_done(step, [1] * sum(s.sample for s in step.spans), 0.0)
    assert cuts == {1: [(0, 5)], 2: [(0, 16), (16, 20)], 3: [(0, 9)]}


@pytest.mark.parametrize("output", [1, 5])
def test_the_first_token_can_be_the_last(output: int) -> None:
    core = UnifiedCore(make_schedule(reserve=0))
    core.submit(make_sequence(1, 5, output), 0.0)
    step = core.next_step()
    assert step is not None
    core.step_done(step, [EOS], 0.0)
    kinds = [a.finish.kind for a in core.actions if isinstance(a, Emit) and a.finish]
    assert kinds == [FinishKind.STOP]


def test_time_that_decode_slept_through_lifts_no_fence() -> None:
    """Bytes for a stopped process wait in its kernel and land after it was continued.

    Mooncake was seen to write 3.9 MB into a process after its SIGCONT. A fence that counts the sleep as time would give
    the pages to another request just before.
    """
    core = DecodeCore(make_schedule(0), PagePool(PAGES), staging_share=1, waiting_timeout_s=50, fence_s=HARD)
    sequence = make_sequence(1, 20, 4, DECODE, "P")
    core.tick(0.0)
    core.submit(sequence, 0.0)
    core.peer_lost("P", "prefill went away", 0.0)
    assert core.staging.statistics().quarantined == 5
    core.tick(1000.0)
    assert core.staging.statistics().quarantined == 5, "asleep for nearly all of that time"
    for second in range(1, 90):
        core.tick(1000.0 + second)
    assert core.staging.statistics().free == PAGES


def test_prefill_that_stood_still_writes_nothing_after_the_lease() -> None:
    """Decode had given up, waited for lease and transport, and lent the pages to another request.

    Prefill had been stopped meanwhile, with the grant in hand and decode's ABORT unread in its socket. Going on, it
    computed the prompt and wrote into the other request's pages.
    """
    core = PrefillCore(make_schedule(0), PagePool(PAGES), bootstrap_timeout_s=9, hard_timeout_s=9)
    core.submit(make_sequence(1, 20, 4, PREFILL), 0.0)
    runs = PagePool(PAGES).alloc(5, Owner.writer(1))
    assert runs is not None
    core.grant("D", 1, runs, 50.0, 0.0)
    step = core.next_step()
    assert step is not None
    core.step_done(step, [1] * sum(s.sample for s in step.spans), 400.0)
    assert not [action for action in core.actions if isinstance(action, ExportPages)]
    assert [action.finish.http_status for action in core.actions if isinstance(action, Emit) and action.finish] == [504]
    assert any(isinstance(action, SendDrained) for action in core.actions)
    assert core.staging.statistics().free == core.schedule.slots.statistics().free == PAGES
