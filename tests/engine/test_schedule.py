"""What the scheduler promises whatever arrives: each token once, budgets kept, nobody starves, no thrash."""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pdpanel.engine.actions import Emit, SendGrant
from pdpanel.engine.decode_core import DecodeCore
from pdpanel.engine.lifecycle import DECODE, UNIFIED, LifeCycle, State
from pdpanel.engine.pages import PagePool
from pdpanel.engine.request import Bootstrap, GenerateRequest, SamplingParams
from pdpanel.engine.schedule import Schedule, Span, Step, StepKind
from pdpanel.engine.sequence import Sequence
from pdpanel.engine.unified_core import UnifiedCore

PAGE, CHUNK = 4, 16
MOST_STEPS = 20_000


def make_sequence(key: int, prompt: int, output: int, cycle: LifeCycle = UNIFIED) -> Sequence:
    bootstrap = None if cycle is UNIFIED else Bootstrap("127.0.0.1", 1, key)
    request = GenerateRequest(f"r{key}", tuple(range(prompt)), SamplingParams(max_new_tokens=output), bootstrap)
    return Sequence(
        key, request, cycle, seed=0, limit=prompt + output, stop_ids=frozenset(), tokens=[*request.prompt_ids],
        state=cycle.start, peer="" if cycle is UNIFIED else "P",
    )  # fmt: skip


def make_schedule(
    pages: int = 24, *, running: int = 4, reserve: int = 4, mixed: bool = False, pack: int | None = None
) -> Schedule:
    return Schedule(
        PagePool(pages), page_size=PAGE, chunk_tokens=CHUNK, max_running=running, reserve_tokens=reserve,
        mixed=mixed, pack_tokens=pack,
    )  # fmt: skip


@dataclass
class Watched:
    """A unified worker whose every step is checked.

    Attributes:
        computed: tokens with KV, for each sequence that runs.
        preempted: sequence -> departures when it lost its slot last.
        memory: which token of which sequence stands in each place of the slots.
    """

    schedule: Schedule
    computed: dict[int, int] = field(default_factory=dict)
    preempted: dict[int, int] = field(default_factory=dict)
    first_tokens: list[int] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)
    memory: dict[int, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.core = UnifiedCore(self.schedule)
        self.sequences: dict[int, Sequence] = {}

    def submit(self, prompt: int, output: int) -> None:
        sequence = make_sequence(len(self.sequences), prompt, output)
        self.sequences[sequence.key] = sequence
        self.core.submit(sequence, 0.0)

    def step(self) -> Step | None:
        running = {*self.schedule.prefilling, *self.schedule.decoding}
        step = self.core.next_step()
        for sequence in running - {*self.schedule.prefilling, *self.schedule.decoding}:
            before = self.preempted.get(sequence.key)
            assert before is None or before < len(self.finished), "computed again only to lose its slot again"
            self.preempted[sequence.key] = len(self.finished)
            self.computed[sequence.key] = 0
        if step is None:
            return None
        self.check(step)
        self.compute(step)
        self.core.step_done(step, [1] * sum(span.sample for span in step.spans), 0.0)
        for action in self.core.actions:
            if isinstance(action, Emit):
                if self.sequences[action.key].output_tokens == 1:
                    self.first_tokens.append(action.key)
                self.finished += [action.key] if action.finish else []
        self.core.actions.clear()
        self.schedule.slots.check()
        assert self.core.integrity() == []
        return step

    def compute(self, step: Step) -> None:
        for move in step.moves:
            source, target = move.source * PAGE, move.target * PAGE
            moved = [self.memory[source + place] for place in range(move.tokens)]
            self.memory |= {target + place: token for place, token in enumerate(moved)}
        for span in step.spans:
            key, slot = span.sequence.key, span.sequence.slot
            assert slot is not None
            first = slot.start * PAGE
            assert [self.memory[first + place] for place in range(span.start)] == [(key, p) for p in range(span.start)]
            self.memory |= {first + place: (key, place) for place in range(span.start, span.stop)}
            self.computed[key] = span.stop

    def check(self, step: Step) -> None:
        keys = [span.sequence.key for span in step.spans]
        assert len(keys) == len({*keys}), "a sequence has one span"
        for span in step.spans:
            assert span.start == self.computed.get(span.sequence.key, 0), "a token is computed once"
            assert span.start < span.stop <= len(span.sequence.tokens)
            assert span.sample == (span.stop == len(span.sequence.tokens))
            assert span.sequence.slot is not None and span.stop <= span.sequence.slot.count * PAGE
        decoding = [span for span in step.spans if span.sequence in self.schedule.decoding]
        prompts = [span for span in step.spans if span.sequence in self.schedule.prefilling]
        kinds = {(False, True): StepKind.PREFILL, (True, False): StepKind.DECODE, (True, True): StepKind.MIXED}
        assert step.kind is kinds[bool(decoding), bool(prompts)]
        assert total(prompts) <= CHUNK
        assert [span.sequence for span in prompts] == self.schedule.prefilling[: len(prompts)], "not the oldest first"
        if self.schedule.mixed:
            assert len(decoding) == len(self.schedule.decoding), "decoding stands still"
            left = sum(_left(sequence) for sequence in self.schedule.prefilling)
            full = min(CHUNK, left + len(decoding))
            assert full - 2 <= total(step.spans) <= full, "the budget is not kept, or not used"
            assert all(
                _left(s.sequence) - (s.stop - s.start) != 1 for s in prompts if s.start < s.sequence.prompt_tokens
            )
        else:
            assert step.kind is not StepKind.MIXED
            for span in prompts:
                assert span.stop % CHUNK == 0 or span.stop in (span.sequence.prompt_tokens, len(span.sequence.tokens))

    def run(self, arrivals: Many[tuple[int, int, int]]) -> None:
        """Submits (steps to wait, prompt, output) one after another, and computes until nothing is left."""
        for wait, prompt, output in arrivals:
            for _ in range(wait):
                self.step()
            self.submit(prompt, output)
        for _ in range(MOST_STEPS):
            if self.step() is None and not self.schedule.waiting:
                break


def _left(sequence: Sequence) -> int:
    """Returns the tokens that may be computed together; output that is computed again comes after the prompt."""
    end = sequence.prompt_tokens if sequence.computed < sequence.prompt_tokens else len(sequence.tokens)
    return end - sequence.computed


def total(spans: Many[Span]) -> int:
    return sum(span.stop - span.start for span in spans)


ARRIVALS = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(
    arrivals=ARRIVALS, mixed=st.booleans(), pages=st.integers(20, 40), running=st.integers(1, 6),
    reserve=st.sampled_from([0, 1, 6, 100]), pack=st.sampled_from([None, 1, 8]),
)  # fmt: skip
@example([(0, 2, 40), (0, 2, 40), (0, 2, 40)], True, 20, 4, 0, None)
def test_whatever_arrives_each_token_is_computed_once_and_everything_ends(
    arrivals: list[tuple[int, int, int]], mixed: bool, pages: int, running: int, reserve: int, pack: int | None
) -> None:
    schedule = make_schedule(pages, running=running, reserve=reserve, mixed=mixed, pack=pack)
    watched = Watched(schedule)
    watched.run(arrivals)
    assert sorted(watched.finished) == [*range(len(arrivals))], "somebody starved"
    for key, (_, _, output) in enumerate(arrivals):
        assert watched.sequences[key].output_tokens == output
    if not watched.preempted:
        assert watched.first_tokens == [*range(len(arrivals))], "first come, first served"
    assert schedule.slots.free == pages
    assert schedule.preemptions <= len(arrivals) * running, "every slot that is lost is paid for by a departure"


@pytest.mark.parametrize("mixed", [False, True])
def test_sequences_that_outgrow_the_pool_do_not_take_turns_in_losing_their_slots(mixed: bool) -> None:
    """Two answers of 80 tokens where 96 fit: without patience the younger loses its slot with every page."""
    watched = Watched(make_schedule(24, reserve=0, mixed=mixed))
    watched.run([(0, 8, 80), (0, 8, 80)])
    assert watched.finished == [0, 1]
    assert watched.schedule.preemptions == 1


def test_a_slot_slides_over_its_own_place_when_it_has_no_other_room() -> None:
    """It ends where the pool does, and no run beside it is long enough: alone, nobody loses a slot."""
    schedule = make_schedule(24, reserve=0)
    watched = Watched(schedule)
    watched.run([(0, 1, 1), (0, 10, 40), (0, 27, 4)])
    assert watched.finished == [0, 2, 1]
    assert schedule.preemptions == 0


def test_prompts_that_keep_the_hardware_busy_go_one_after_another() -> None:
    """Together they would end at the same time; the first ends earlier alone, and the last no later."""
    for pack, expected in ((None, [[0, 1], [2]]), (6, [[0], [1], [2]]), (12, [[0, 1], [2]])):
        watched = Watched(make_schedule(pack=pack))
        for prompt in (6, 6, 9):
            watched.submit(prompt, 1)
        steps = [watched.step() for _ in expected]
        assert [[span.sequence.key for span in step.spans] for step in steps if step] == expected


def test_a_mixed_step_goes_on_decoding_and_fills_its_budget_with_prompts() -> None:
    watched = Watched(make_schedule(mixed=True))
    watched.submit(3, 20)
    watched.step()
    watched.submit(25, 4)
    watched.submit(9, 4)
    steps = [watched.step() for _ in range(4)]
    spans = [[(span.sequence.key, span.stop - span.start) for span in step.spans] for step in steps if step]
    assert spans == [[(0, 1), (1, 15)], [(0, 1), (1, 10), (2, 5)], [(0, 1), (1, 1), (2, 4)], [(0, 1), (1, 1), (2, 1)]]
    watched.submit(15, 4)
    step = watched.step()
    assert step is not None and [span.stop for span in step.spans if not span.sample] == [13], (
        "not 14: one would be left"
    )
    assert [step.kind for step in steps if step] == [StepKind.MIXED] * 3 + [StepKind.DECODE]


def test_prompts_first_lets_decoding_wait() -> None:
    watched = Watched(make_schedule())
    watched.submit(3, 20)
    watched.step()
    watched.submit(25, 4)
    kinds = [step.kind for step in (watched.step(), watched.step(), watched.step()) if step]
    assert kinds == [StepKind.PREFILL, StepKind.PREFILL, StepKind.DECODE]


def test_decode_gives_way_while_prompts_pile_up_at_prefill_on_its_cores() -> None:
    for gives_way, expected in ((True, [0, 0, 1, 2, 2, 1]), (False, [0] * 6)):
        core = DecodeCore(
            make_schedule(40, running=8), PagePool(40), staging_share=1, waiting_timeout_s=50, fence_s=9,
            gives_way=gives_way,
        )  # fmt: skip
        found = []
        for key in range(1, 6):
            core.submit(make_sequence(key, 8, 8, DECODE), 0.0)
            found.append(core.pauses)
        for key in (1, 2):
            core.committed("P", key, 1, 0.0)
        assert [*found, core.pauses] == expected


def test_decode_grants_no_page_that_a_running_sequence_needs_next() -> None:
    """The grant would fit, but the sequence that decodes grows with its next token, and would lose its slot."""
    core = DecodeCore(make_schedule(6, reserve=0), PagePool(12), staging_share=1, waiting_timeout_s=50, fence_s=9)
    first, second = make_sequence(1, 8, 8, DECODE), make_sequence(2, 16, 4, DECODE)
    core.submit(first, 0.0)
    core.committed("P", 1, 1, 0.0)
    core.submit(second, 0.0)
    assert [a.sequence.key for a in core.actions if isinstance(a, SendGrant)] == [1]
    while first.state is not State.CLOSED:
        step = core.next_step()
        assert step is not None
        core.step_done(step, [1], 0.0)
    assert [a.sequence.key for a in core.actions if isinstance(a, SendGrant)] == [1, 2]
    assert core.schedule.preemptions == 0
