"""Decisions of a unified worker: prompts in, tokens out, no transfer. Events in, actions out; no torch, no clock."""

from __future__ import annotations

from collections.abc import Sequence as Tokens

from .actions import Action, Emit
from .integrity import pool_problems
from .lifecycle import Event
from .pages import Owner
from .request import Finish
from .schedule import Schedule, Step
from .sequence import Sequence

__all__ = ["UnifiedCore", "finish_decode_step"]


def finish_decode_step(schedule: Schedule, step: Step, tokens: Tokens[int], actions: list[Action]) -> None:
    """Takes the sampled tokens of a step into the sequences and emits them.

    Args:
        step: the step that ran.
        tokens: one token per span with `sample`, in order.
        actions: where the emits go.
    """
    drawn = iter(tokens)
    for span in step.spans:
        sequence = span.sequence
        sequence.computed = span.stop
        if not span.sample:
            continue
        token = next(drawn)
        finish = sequence.append(token)
        actions.append(Emit(sequence.key, (token,), finish, scores=sequence.scores))
        if finish is not None:
            sequence.advance(Event.STOP)
            schedule.remove(sequence)
        elif sequence in schedule.prefilling:
            schedule.start_decoding(sequence)


class UnifiedCore:
    """The baseline of every comparison: one worker that does both phases.

    Attributes:
        actions: what the worker is to do next; the worker empties it.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.actions: list[Action] = []

    @property
    def pauses(self) -> int:
        """Prompts and answers take turns by steps."""
        return 0

    def submit(self, sequence: Sequence, now: float) -> None:
        """Takes a new request."""
        self.schedule.waiting.append(sequence)

    def abort(self, sequence: Sequence, finish: Finish, now: float, event: Event = Event.ABORT) -> None:
        """Gives a request up; emits `finish` unless it was over already."""
        if sequence.advance(event):
            self.schedule.remove(sequence)
            self.actions.append(Emit(sequence.key, finish=finish))

    def restart(self) -> None:
        """All KV is lost: computes every sequence again from its tokens."""
        self.schedule.restart()

    def tick(self, now: float) -> None:
        """Gives up requests whose own time is over."""
        for sequence in [s for s in self.schedule.sequences() if now >= s.expires_at]:
            self.abort(sequence, sequence.time_is_over(), now, Event.DEADLINE)

    def integrity(self) -> list[str]:
        """Returns what is wrong with the pool, one sentence each."""
        return pool_problems(
            "slots", self.schedule.slots, {Owner.request(sequence.key) for sequence in self.schedule.sequences()}
        )

    def next_step(self) -> Step | None:
        """Returns the next forward pass."""
        self.schedule.admit()
        return self.schedule.next_step()

    def step_done(self, step: Step, tokens: Tokens[int], now: float) -> None:
        """Takes the result of `next_step`'s step."""
        finish_decode_step(self.schedule, step, tokens, self.actions)
