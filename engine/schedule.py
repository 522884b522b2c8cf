"""Which sequences compute next, and who gets a slot.

By default a step is prompt chunks or one token for every decoding sequence. Prompts go first, the oldest before all
others; each is cut at multiples of the chunk size whatever its neighbours do, so that its KV is computed the same way
on every worker. A `mixed` schedule has one token of every decoding sequence in each step and fills it with prompt
tokens up to the budget: what shares a step, and where a prompt is cut, then depends on the load. A sequence that
outgrows its slot grows in place, else moves, else the youngest gives its slot up. Pure: no tensors, no clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from .lifecycle import Event
from .pages import Owner, PagePool, Run
from .sequence import Sequence

__all__ = ["Move", "Schedule", "Span", "Step", "StepKind", "pages_for"]


def pages_for(tokens: int, page_size: int) -> int:
    """Returns how many pages hold `tokens` tokens."""
    return -(-tokens // page_size)


class StepKind(Enum):
    """What a step computes."""

    PREFILL = "prefill"
    DECODE = "decode"
    MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens [start, stop) of one sequence, computed in one step.

    Attributes:
        sample: a token is drawn after the last.
        apart: each token attends by itself, as it did when it was made.
    """

    sequence: Sequence
    start: int
    stop: int
    sample: bool
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """KV of `tokens` tokens goes from slot page `source` to slot page `target` of a group before the step."""

    source: int
    target: int
    tokens: int
    group: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One forward pass."""

    kind: StepKind
    spans: tuple[Span, ...]
    moves: tuple[Move, ...] = ()


class Schedule:
    """Queues and slots of one worker.

    Args:
        slots: the pool of slot pages; a slot is always one contiguous run.
        chunk_tokens: prompt tokens per step at most; of a mixed one, all tokens.
        max_running: sequences that hold a slot at most; a mixed step has room for a prompt beside them.
        reserve_tokens: places kept for the output of a sequence when it is admitted.
        pack_tokens: tokens up to which prompts share a step, None for `chunk_tokens`. Where so many keep the hardware
            busy, more of them end no earlier together than one after another, and the oldest ends later.
        mixed: whether decoding goes on while prompts are computed.

    Attributes:
        preemptions: how often a sequence lost its slot.
        ready: whether all is there that a sequence is computed from; asked before it gets a slot.
    """

    def __init__(
        self,
        slots: PagePool,
        *,
        page_size: int,
        chunk_tokens: int,
        max_running: int,
        reserve_tokens: int,
        pack_tokens: int | None = None,
        mixed: bool = False,
    ) -> None:
        assert not mixed or max_running < chunk_tokens - 1, "prompts would stand still beside so many"
        self.slots = slots
        self.page_size = page_size
        self.chunk_tokens = chunk_tokens
        self.max_running = max_running
        self.reserve_tokens = reserve_tokens
        self.mixed = mixed
        self._pack_tokens = chunk_tokens if pack_tokens is None else min(pack_tokens, chunk_tokens)
        self._departures = 0
        self._preempted: dict[int, int] = {}  # sequences that lost their slot -> departures until then
        self.waiting: deque[Sequence] = deque()
        self.prefilling: list[Sequence] = []
        self.decoding: list[Sequence] = []
        self.preemptions = 0
        self.ready: Callable[[Sequence], bool] = lambda _: True

    @property
    def running(self) -> int:
        """Sequences that compute or may compute in the next step."""
        return len(self.prefilling) + len(self.decoding)

    def slot_pages(self, sequence: Sequence) -> int:
        """Returns the pages to give a sequence at admission: what it has, plus the reserve, within its limit."""
        reserve = self.reserve_tokens
        if sequence.key in self._preempted:  # it must not have to grow at once
            reserve = max(reserve, self.page_size)
        return pages_for(min(len(sequence.tokens) + reserve, sequence.limit), self.page_size)

    def leaves_room(self, pages: int) -> bool:
        """Returns whether every decoding sequence can still grow by a page when `pages` pages are taken.

        Who is admitted into less has the next sequence that grows take a slot away, perhaps his own.
        """
        growth = 0
        for sequence in self.decoding:
            assert sequence.slot is not None
            soon = min(len(sequence.tokens) + self.page_size, sequence.limit)
            growth += max(0, pages_for(soon, self.page_size) - sequence.slot.count)
        return self.slots.free - pages >= growth

    def take_slot(self, sequence: Sequence, pages: int) -> bool:
        """Gives the sequence a slot of `pages` pages; False when no contiguous run is free."""
        runs = self.slots.alloc(pages, Owner.request(sequence.key), contiguous=True)
        if runs is None:
            return False
        sequence.slot = runs[0]
        return True

    def release_slot(self, sequence: Sequence) -> None:
        """Takes the sequence's slot back, if it has one."""
        if sequence.slot is not None:
            self.slots.release((sequence.slot,), Owner.request(sequence.key))
            sequence.slot = None

    def _may_return(self, sequence: Sequence) -> bool:
        """Returns whether a sequence that lost its slot may have one again: when the reason for that may be over.

        So each time that it is computed again another sequence has ended meanwhile.
        """
        since = self._preempted.get(sequence.key)
        return since is None or not self.running or self._departures > since

    def admit(self, also: Callable[[Sequence], bool] = lambda _: True) -> None:
        """Moves waiting sequences, oldest first, to prefilling while slots last.

        `also` claims whatever else a sequence needs; it is asked after the slot was taken.
        """
        while self.waiting and self.running < self.max_running:
            sequence = self.waiting[0]
            pages = self.slot_pages(sequence)
            if not self._may_return(sequence) or not self.ready(sequence):
                return
            if not self.leaves_room(pages) or not self.take_slot(sequence, pages):
                return
            if not also(sequence):
                self.release_slot(sequence)
                return
            self.waiting.popleft()
            self._preempted.pop(sequence.key, None)
            sequence.advance(Event.ADMIT)
            self.prefilling.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Forgets a sequence that is over and takes its slot back."""
        self._departures += sequence.slot is not None
        self._preempted.pop(sequence.key, None)
        self._take_out(sequence)

    def _take_out(self, sequence: Sequence) -> None:
        for queue in (self.waiting, self.prefilling, self.decoding):
            if sequence in queue:
                queue.remove(sequence)
        self.release_slot(sequence)

    def next_step(self) -> Step | None:
        """Returns what computes next, or None when nothing can: prompts first, or both kinds when mixed."""
        return self._mixed_step() if self.mixed else self.prefill_step() or self._decode_step()

    def prefill_step(self) -> Step | None:
        """Returns the next chunk of the oldest prompts, or None when no prompt is waiting to be computed."""
        spans: list[Span] = []
        taken = 0
        for sequence in self.prefilling:
            span = _chunk(sequence, (sequence.computed // self.chunk_tokens + 1) * self.chunk_tokens)
            taken += span.stop - span.start
            if spans and taken > self._pack_tokens:
                break
            spans.append(span)
        return Step(StepKind.PREFILL, tuple(spans)) if spans else None

    def _decode_step(self) -> Step | None:
        moves: list[Move] = []
        spans = self._decode_spans(moves)
        return Step(StepKind.DECODE, spans, tuple(moves)) if spans else None

    def _mixed_step(self) -> Step | None:
        moves: list[Move] = []
        decoding = self._decode_spans(moves)
        prompts: list[Span] = []
        budget = self.chunk_tokens - len(decoding)
        for sequence in self.prefilling:
            span = _piece(sequence, budget)
            if span is None:
                break
            budget -= span.stop - span.start
            prompts.append(span)
        if not decoding and not prompts:
            return None
        kind = StepKind.MIXED if decoding and prompts else StepKind.DECODE if decoding else StepKind.PREFILL
        return Step(kind, (*decoding, *prompts), tuple(moves))

    def _decode_spans(self, moves: list[Move]) -> tuple[Span, ...]:
        for sequence in tuple(self.decoding):
            if sequence in self.decoding:
                self._grow(sequence, moves)
        return tuple(Span(s, s.computed, len(s.tokens), sample=True) for s in self.decoding)

    def _grow(self, sequence: Sequence, moves: list[Move]) -> None:
        assert sequence.slot is not None
        while len(sequence.tokens) > sequence.slot.count * self.page_size:
            owner = Owner.request(sequence.key)
            wanted = self.slot_pages(sequence)
            for pages in (wanted, sequence.slot.count + 1):
                extra = pages - sequence.slot.count
                if self.slots.extend(sequence.slot, extra, owner):
                    sequence.slot = Run(sequence.slot.start, pages)
                    return
                old = sequence.slot
                if (runs := self.slots.alloc(pages, owner, contiguous=True)) is not None:
                    # The old place stays owned until the copy was made: the move runs before anything is written.
                    self.slots.release((old,), owner)
                elif self._width_around(old) >= pages:
                    self.slots.release((old,), owner)
                    runs = self.slots.alloc(pages, owner, contiguous=True)
                if runs is not None:
                    sequence.slot = runs[0]
                    moves.append(Move(old.start, sequence.slot.start, sequence.computed))
                    return
            if self._preempt_youngest(moves) is sequence:
                return

    def _width_around(self, slot: Run) -> int:
        """Returns the pages of a slot and of the free runs on both sides of it, within which it may slide."""
        return slot.count + sum(
            run.count for run in self.slots.free_runs if slot.start == run.stop or slot.stop == run.start
        )

    def _preempt_youngest(self, moves: list[Move]) -> Sequence:
        sequence = max((*self.prefilling, *self.decoding), key=lambda s: s.key)
        assert sequence.slot is not None
        start = sequence.slot.start
        moves[:] = [move for move in moves if move.target != start]
        sequence.advance(Event.PREEMPT)
        self._take_out(sequence)
        sequence.computed = sequence.sent = 0
        self.waiting.appendleft(sequence)
        self._preempted[sequence.key] = self._departures
        self.preemptions += 1
        return sequence

    def restart(self) -> None:
        """Takes all slots back, since the KV in them is lost: all sequences wait and are computed again."""
        lost = sorted((*self.prefilling, *self.decoding), key=lambda sequence: sequence.key)
        for sequence in lost:
            sequence.advance(Event.PREEMPT)
            self._take_out(sequence)
            sequence.computed = sequence.sent = 0
            if len(sequence.tokens) == sequence.prefill_tokens:
                sequence.prompt_scores.clear()
        self.waiting.extendleft(reversed(lost))
        self._preempted.clear()

    def start_decoding(self, sequence: Sequence) -> None:
        """Puts a sequence whose KV is complete in its slot among the decoding ones, oldest first."""
        if sequence in self.prefilling:
            self.prefilling.remove(sequence)
        self.decoding.append(sequence)
        self.decoding.sort(key=lambda s: s.key)

    def sequences(self) -> Iterable[Sequence]:
        """Yields every sequence that waits or runs."""
        yield from self.waiting
        yield from self.prefilling
        yield from self.decoding


def _chunk(sequence: Sequence, until: int) -> Span:
    """Returns the next span of a prompt, up to position `until` at most."""
    start = sequence.computed
    # Output that was made before is computed as it was made: attention of one token and of many round differently, and
    # an answer that is continued must go on as if nothing had happened.
    apart = start >= sequence.prompt_tokens
    stop = min(until, len(sequence.tokens) if apart else sequence.prompt_tokens)
    return Span(sequence, start, stop, sample=stop == len(sequence.tokens), apart=apart)


def _piece(sequence: Sequence, budget: int) -> Span | None:
    """Returns the next span of a prompt of `budget` tokens at most; None when these are too few.

    A prompt is not cut so that a single token is left over: attention of one token rounds unlike that of several.
    """
    if not budget:
        return None
    span = _chunk(sequence, sequence.computed + budget)
    left = sequence.prompt_tokens - span.stop
    if span.apart or not left:
        return span
    stop = span.stop - (left == 1)
    return _chunk(sequence, stop) if stop - span.start > 1 else None
