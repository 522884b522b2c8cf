"""Whether an answer is right: compared with what the same request was answered by a unified worker. Pure."""

from __future__ import annotations

from enum import Enum

from .answer import Answer

__all__ = ["Verdict", "is_right", "verdict"]


class Verdict(Enum):
    """What became of a request.

    completed: it has its answer. refused: it was told to come again, and when. failed: it was told of an error.
    broken: it has no end, several, or one that is not well formed.
    """

    COMPLETED = "completed"
    REFUSED = "refused"
    FAILED = "failed"
    BROKEN = "broken"


def verdict(answer: Answer) -> Verdict:
    """Returns what became of the request; says nothing about the tokens."""
    if answer.faults or answer.ends != 1:
        return Verdict.BROKEN
    if answer.status == 503 and not answer.text:
        # One that does not say when to come again leaves the client to guess.
        return Verdict.REFUSED if answer.retry_after else Verdict.BROKEN
    return Verdict.FAILED if answer.error or answer.finish == "abort" else Verdict.COMPLETED


def is_right(answer: Answer, reference: Answer) -> bool:
    """Returns whether what was said is the reference, or its beginning where the answer was cut off by an error."""
    if verdict(answer) is Verdict.COMPLETED:
        return (answer.text, answer.token_ids) == (reference.text, reference.token_ids) and (
            answer.finish == reference.finish
        )
    if answer.token_ids is not None and reference.token_ids is not None:
        return reference.token_ids[: len(answer.token_ids)] == answer.token_ids
    return reference.text.startswith(answer.text)
