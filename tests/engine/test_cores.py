"""What each core decides in cases that have a name; pair_machine has all the others."""

from __future__ import annotations

import pytest
from pdpanel.engine.actions import (
    Emit,
    ExportPages,
    FenceLifted,
    SendAbort,
    SendAck,
    SendCommit,
    SendDrained,
    SendGrant,
)
from pdpanel.engine.decode_core import DecodeCore
from pdpanel.engine.lifecycle import DECODE, PREFILL, UNIFIED, State
from pdpanel.engine.pages import Owner, PagePool, Run
from pdpanel.engine.prefill_core import COMMIT_PATIENCE_S, RESEND_S, PrefillCore
from pdpanel.engine.request import Bootstrap, Finish, FinishKind, GenerateRequest, SamplingParams
from pdpanel.engine.schedule import Schedule
from pdpanel.engine.sequence import Sequence
from pdpanel.engine.unified_core import UnifiedCore

PAGE, PAGES, CHUNK = 4, 24, 16
HARD = 30.0
EOS = 7
GONE = Finish(FinishKind.ABORT, message="the client left", http_status=499)


def make_sequence(
    key: int, prompt: int, output: int, cycle=UNIFIED, peer: str = "", replayed: tuple[int, ...] = ()
) -> Sequence:
    bootstrap = None if cycle is UNIFIED else Bootstrap("127.0.0.1", 1, key)
    request = GenerateRequest(
        f"r{key}", tuple(range(prompt)), SamplingParams(max_new_tokens=output), bootstrap, replayed_ids=replayed
    )
    return Sequence(
        key, request, cycle, seed=0, limit=prompt + output, stop_ids=frozenset({EOS}),
        tokens=[*request.prompt_ids, *replayed], state=cycle.start, peer=peer,
    )  # fmt: skip


def make_schedule(reserve: int, pages: int = PAGES) -> Schedule:
    return Schedule(PagePool(pages), page_size=PAGE, chunk_tokens=CHUNK, max_running=4, reserve_tokens=reserve)


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


def make_prefill() -> PrefillCore:
    return PrefillCore(make_schedule(0), PagePool(PAGES), bootstrap_timeout_s=50, hard_timeout_s=HARD)


def make_decode() -> DecodeCore:
    return DecodeCore(make_schedule(6), PagePool(PAGES), staging_share=0.5, waiting_timeout_s=50, fence_s=HARD)


def compute(core: PrefillCore | DecodeCore | UnifiedCore, token: int, now: float = 0.0) -> None:
    step = core.next_step()
    assert step is not None
    core.step_done(step, [token] * sum(span.sample for span in step.spans), now)


def taken(core: PrefillCore | DecodeCore | UnifiedCore, kind: type) -> list:
    """Returns the actions of a kind, and forgets all."""
    found = [action for action in core.actions if isinstance(action, kind)]
    core.actions = []
    return found


def committing(core: PrefillCore, sequence: Sequence) -> None:
    """Brings a prefill request to where its commit was sent at time 0."""
    core.submit(sequence, 0.0)
    core.grant("D", sequence.room, (Run(0, -(-sequence.prefill_tokens // PAGE)),), 500.0, 0.0)
    while sequence.state is not State.FLUSHING:
        compute(core, 1)
    while sequence.writes_pending:
        core.write_done(sequence, ok=True, quiet=True, error="", now=0.0)
    assert sequence.state is State.COMMITTING


def test_replayed_output_is_computed_with_the_prompt_and_counts_as_output() -> None:
    prefill, decode = make_prefill(), make_decode()
    replayed = (41, 42, 43)
    source = make_sequence(1, 10, 6, PREFILL, replayed=replayed)
    target = make_sequence(1, 10, 6, DECODE, "P", replayed)
    decode.submit(target, 0.0)
    assert sum(run.count for run in target.staging) == 4, "13 tokens, not 10"
    committing(prefill, source)
    (commit,) = [a for a in prefill.actions if isinstance(a, SendCommit)]
    emitted = [a.token_ids for a in prefill.actions if isinstance(a, Emit) and a.token_ids]
    assert commit.first_token == 1 and emitted == [(1,)], "what the client has is not sent again"
    assert source.tokens == [*target.tokens, 1]
    decode.committed("P", 1, 1, 0.0)
    compute(decode, 2)
    compute(decode, 3)
    finishes = [a.finish for a in decode.actions if isinstance(a, Emit) and a.finish]
    assert [(f.kind, f.matched) for f in finishes] == [(FinishKind.LENGTH, 6)], "the earlier tries' tokens count"


@pytest.mark.parametrize(
    ("replayed", "output", "kind"), [((1, EOS), 9, FinishKind.STOP), ((1, 2), 2, FinishKind.LENGTH)]
)
def test_a_replay_that_holds_the_end_has_its_finish(replayed: tuple[int, ...], output: int, kind: FinishKind) -> None:
    finish = make_sequence(1, 5, output, replayed=replayed).replay_finish()
    assert finish is not None and finish.kind is kind
    assert make_sequence(1, 5, output + 2, replayed=(1, 2)).replay_finish() is None
    assert make_sequence(1, 5, output).replay_finish() is None


@pytest.mark.parametrize("kind", ["prefill", "decode", "unified"])
@pytest.mark.parametrize("computed", [False, True])
def test_a_deadline_ends_a_request_in_any_state_with_504(kind: str, computed: bool) -> None:
    core = {"prefill": make_prefill, "decode": make_decode, "unified": lambda: UnifiedCore(make_schedule(0))}[kind]()
    cycle = {"prefill": PREFILL, "decode": DECODE, "unified": UNIFIED}[kind]
    sequence = make_sequence(1, 20, 30, cycle, "P" if kind == "decode" else "")
    sequence.expires_at = 5.0
    if isinstance(core, PrefillCore) and computed:
        committing(core, sequence)
    else:
        core.submit(sequence, 0.0)
        if isinstance(core, DecodeCore) and computed:
            core.committed("P", 1, 1, 0.0)
        if computed:
            compute(core, 1)
    core.tick(4.9)
    assert not [e for e in taken(core, Emit) if e.finish]
    for now in (5.0, 6.0):
        core.tick(now)
    finishes = [e.finish for e in taken(core, Emit) if e.finish]
    assert [f.http_status for f in finishes] == [504] and "longer than" in finishes[0].message
    assert core.integrity() == []


def test_a_commit_is_sent_again_until_it_is_acknowledged_and_taken_once() -> None:
    prefill, decode = make_prefill(), make_decode()
    source, target = make_sequence(1, 10, 4, PREFILL), make_sequence(1, 10, 4, DECODE, "P")
    decode.submit(target, 0.0)
    committing(prefill, source)
    taken(prefill, SendCommit)
    prefill.tick(RESEND_S / 2)
    assert not taken(prefill, SendCommit)
    prefill.tick(RESEND_S)
    (again,) = taken(prefill, SendCommit)
    assert again.again and again.first_token == 1
    assert decode.committed("P", 1, 1, 1.0) is True
    assert [ack.known for ack in taken(decode, SendAck)] == [True]
    assert decode.committed("P", 1, 1, 1.0) is False
    assert decode.committed("Q", 1, 1, 1.0) is False, "another worker's commit"
    assert [ack.known for ack in taken(decode, SendAck)] == [True, False]
    assert target.output_tokens == 1 and decode.stale_messages == 2
    prefill.acknowledged("D", 1, True, 1.5)
    prefill.acknowledged("D", 1, True, 1.5)
    assert source.state is State.CLOSED and prefill.stale_messages == 1
    prefill.tick(60.0)
    assert not taken(prefill, SendCommit)


def test_a_commit_that_nobody_acknowledges_is_given_up() -> None:
    core = make_prefill()
    sequence = make_sequence(1, 10, 4, PREFILL)
    committing(core, sequence)
    for second in range(int(COMMIT_PATIENCE_S) + 1):
        core.tick(float(second))
    assert [e.finish.http_status for e in taken(core, Emit) if e.finish] == [504]
    assert sequence.state is State.CLOSED and core.integrity() == []


def test_a_commit_survives_a_broken_connection_if_decode_comes_back() -> None:
    for known in (True, False, None):
        core = make_prefill()
        sequence = make_sequence(1, 10, 4, PREFILL)
        committing(core, sequence)
        core.peer_lost("D", "the connection ended", 0.1)
        assert sequence.state is State.COMMITTING
        taken(core, Emit)
        if known is None:
            core.tick(2.0)
        else:
            core.acknowledged("D", 1, known, 0.2)
        assert sequence.state is State.CLOSED
        (emit,) = taken(core, Emit)
        assert emit.end if known else emit.finish is not None


def test_pages_of_a_grant_that_never_left_are_free_at_once() -> None:
    core = make_decode()
    for key in (1, 2):
        core.submit(make_sequence(key, 10, 4, DECODE, "P"), 0.0)
    core.actions = []
    core.peer_lost("P", "cannot connect", 0.0, unsent=[2])
    assert [(a.room, a.why) for a in core.actions if isinstance(a, FenceLifted)] == [(2, "drained")]
    assert core.fenced_peers == {"P"} and core.staging.free == PAGES - 3
    assert [a.room for a in taken(core, SendAbort)] == [2], "prefill may have the request, and waits for a grant"
    core.peer_joined("P", 1.0)
    assert [a.room for a in taken(core, SendAbort)] == [1], "it is asked for the pages"
    core.drained("P", 1, 1.0)
    assert core.staging.free == PAGES and core.integrity() == []


@pytest.mark.parametrize(
    ("how", "why", "free_at"), [("joins", "replaced", 1.0), ("dies", "dead", HARD), ("", "lease", 80.0)]
)
def test_a_fence_ends_as_soon_as_its_writer_provably_does(how: str, why: str, free_at: float) -> None:
    core = make_decode()
    core.tick(0.0)
    core.submit(make_sequence(1, 10, 4, DECODE, "P"), 0.0)
    core.peer_lost("P", "prefill went away", 0.0)
    if how == "joins":
        core.peer_replaced("P", 0.0)
    now = 0.0
    while core.fences:
        if how == "dies":
            core.peer_dead("P", now)  # told again and again, the first time counts
        now += 0.5
        core.tick(now)
    assert now == free_at
    assert [a.why for a in core.actions if isinstance(a, FenceLifted)] == [why]


def fenced_for_a_replaced_process() -> DecodeCore:
    core = make_decode()
    core.tick(0.0)
    core.submit(make_sequence(1, 10, 4, DECODE, "P"), 0.0)
    core.peer_lost("P", "prefill went away", 0.0)
    core.peer_replaced("P", 0.0)
    return core


@pytest.mark.parametrize("asleep_s", [0.7, 4.0, 60.0])
def test_a_short_fence_counts_no_sleep_however_short(asleep_s: float) -> None:
    """What a dead process had sent waits in the kernel while decode stands still, and lands when it goes on.

    Sleeps of less than five seconds went unseen: such a fence, of one second, was over before the last bytes landed.
    """
    core = fenced_for_a_replaced_process()
    core.tick(asleep_s)
    core.tick(asleep_s + 0.5)
    assert core.fences, "it ran for half a second of that time"
    core.tick(asleep_s + 1.0)
    assert not core.fences


def test_steps_that_are_long_for_ever_hold_no_fence_for_ever() -> None:
    core, now = fenced_for_a_replaced_process(), 0.0
    while core.fences and now < 60:
        now += 2.0
        core.tick(now)
    assert now == 32.0, "half a minute in doubt, then the second that it is"


def test_a_grant_that_waits_for_the_new_process_is_not_lifted_by_its_arrival() -> None:
    core = make_decode()
    core.peer_lost("P", "prefill went away", 0.0)
    sequence = make_sequence(1, 10, 4, DECODE, "P")
    core.submit(sequence, 0.0)
    core.peer_replaced("P", 0.1)
    assert sequence.state is State.GRANTED
    core.abort(sequence, GONE, 0.2)
    core.peer_replaced("P", 0.3)
    core.tick(3.0)
    assert core.fences, "the process that is there now has the grant"


def test_a_long_prompt_is_granted_beside_fenced_pages() -> None:
    """What is fenced may stay so for minutes; only what is really in use makes others wait."""
    core = make_decode()
    core.submit(make_sequence(1, 20, 4, DECODE, "P"), 0.0)
    core.peer_lost("P", "prefill went away", 0.0)
    core.actions = []
    core.submit(make_sequence(2, 50, 4, DECODE, "Q"), 0.0)
    assert [a.sequence.key for a in taken(core, SendGrant)] == [2]


def test_a_room_that_is_at_work_is_refused_with_409() -> None:
    for core, cycle, peer in ((make_prefill(), PREFILL, ""), (make_decode(), DECODE, "P")):
        first, second = make_sequence(1, 10, 4, cycle, peer), make_sequence(1, 10, 4, cycle, peer)
        second.key = 2
        core.submit(first, 0.0)
        core.actions = []
        core.submit(second, 0.0)
        (emit,) = taken(core, Emit)
        assert emit.key == 2 and emit.finish.http_status == 409 and "fresh room" in emit.finish.message
        assert first.state is not State.CLOSED and second.state is State.CLOSED
        assert core.integrity() == []


def test_lost_pages_are_found() -> None:
    core = make_decode()
    core.submit(make_sequence(1, 10, 4, DECODE, "P"), 0.0)
    assert core.integrity() == []
    del core.granted[1]
    slots, staging = sorted(core.integrity())
    assert "slots" in slots and "REQUEST" in slots and "staging" in staging and "WRITER" in staging
