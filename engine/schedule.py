"""Which sequences compute next, and who gets a slot.

A step is either prompt chunks or one token for every decoding sequence. Prompts go first, in order of arrival; each
prompt is cut at multiples of the chunk size whatever its neighbours do, so that its KV is computed the same way on
every worker, and another prompt joins a step only when its whole next chunk fits. A sequence that outgrows its slot
grows in place, else moves, else the youngest sequence gives its slot up and is computed again later. Pure: no
tensors, no clock.
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
    """KV of `tokens` tokens goes from slot page `source` to slot page `target` before the step."""

    source: int
    target: int
    tokens: int


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
        chunk_tokens: tokens per prefill step at most.
        max_running: sequences that hold a slot at most.
        reserve_tokens: places kept for the output of a sequence when it is admitted.
    """

    def __init__(
        self, slots: PagePool, *, page_size: int, chunk_tokens: int, max_running: int, reserve_tokens: int
    ) -> None:
        self.slots = slots
        self.page_size = page_size
        self.chunk_tokens = chunk_tokens
        self.max_running = max_running
        self.reserve_tokens = reserve_tokens
        self.waiting: deque[Sequence] = deque()
        self.prefilling: list[Sequence] = []
        self.decoding: list[Sequence] = []
        self.preemptions = 0

    @property
    def running(self) -> int:
        """Sequences that compute or may compute in the next step."""
        return len(self.prefilling) + len(self.decoding)

    def slot_pages(self, sequence: Sequence) -> int:
        """Returns the pages to give a sequence at admission: what it has, plus the reserve, within its limit."""
        wanted = min(len(sequence.tokens) + self.reserve_tokens, sequence.limit)
        return pages_for(wanted, self.page_size)

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

    def admit(self, also: Callable[[Sequence], bool] = lambda _: True) -> None:
        """Moves waiting sequences, oldest first, to prefilling while slots last.

        `also` claims whatever else a sequence needs; it is asked after the slot was taken.
        """
        while self.waiting and self.running < self.max_running:
            sequence = self.waiting[0]
            if not self.take_slot(sequence, self.slot_pages(sequence)):
                return
            if not also(sequence):
                self.release_slot(sequence)
                return
            self.waiting.popleft()
            sequence.advance(Event.ADMIT)
            self.prefilling.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Forgets a sequence and takes its slot back."""
        for queue in (self.waiting, self.prefilling, self.decoding):
            if sequence in queue:
                queue.remove(sequence)
        self.release_slot(sequence)

    def prefill_step(self) -> Step | None:
        """Returns the next chunk of the oldest prompts, or None when no prompt is waiting to be computed."""
        budget = self.chunk_tokens
        spans: list[Span] = []
        for sequence in self.prefilling:
            start = sequence.computed
            # Output that was made before is computed as it was made: attention of one token and of many round
            # differently, and an answer that is continued must go on as if nothing had happened.
            apart = start >= sequence.prompt_tokens
            end = len(sequence.tokens) if apart else sequence.prompt_tokens
            stop = min((start // self.chunk_tokens + 1) * self.chunk_tokens, end)
            if stop - start > budget:
                break
            budget -= stop - start
            spans.append(Span(sequence, start, stop, sample=stop == len(sequence.tokens), apart=apart))
        return Step(StepKind.PREFILL, tuple(spans)) if spans else None

    def decode_step(self) -> Step | None:
        """Returns one token for every decoding sequence, or None when there is none."""
        moves: list[Move] = []
        for sequence in tuple(self.decoding):
            if sequence in self.decoding:
                self._grow(sequence, moves)
        spans = tuple(Span(s, s.computed, len(s.tokens), sample=True) for s in self.decoding)
        return Step(StepKind.DECODE, spans, tuple(moves)) if spans else None

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
                if (runs := self.slots.alloc(pages, owner, contiguous=True)) is not None:
                    old, sequence.slot = sequence.slot, runs[0]
                    # The old place stays owned until the copy was made: the move runs before anything is written.
                    moves.append(Move(old.start, sequence.slot.start, sequence.computed))
                    self.slots.release((old,), owner)
                    return
            if self._preempt(self.decoding[-1], moves) is sequence:
                return

    def _preempt(self, sequence: Sequence, moves: list[Move]) -> Sequence:
        assert sequence.slot is not None
        start = sequence.slot.start
        moves[:] = [move for move in moves if move.target != start]
        sequence.advance(Event.PREEMPT)
        self.remove(sequence)
        sequence.computed = sequence.sent = 0
        self.waiting.appendleft(sequence)
        self.preemptions += 1
        return sequence

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
