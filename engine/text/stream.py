"""A request's output as text: tokens in, one piece per token out.

A pure function of the token sequence: both halves of a disaggregated pair feed it the same tokens and get the
same pieces at the same token numbers, which is what lets a router join their streams. The HTTP layer calls
it; it does not know events, sockets or the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..request import Finish, FinishKind, SamplingParams
from .stop import StopMatcher
from .tokenizer import Tokenizer

__all__ = ["TextPiece", "TextStream"]


@dataclass(frozen=True, slots=True)
class TextPiece:
    """What one token added.

    Attributes:
        text: may be empty: a token may hold part of a character or of a possible stop string.
        finish: set on the last piece. With a str in `matched`, the text ended before the engine knew.
        completion_tokens: tokens so far, this one and a stop token included.
    """

    text: str
    finish: Finish | None
    completion_tokens: int


class TextStream:
    """Turns the tokens of one request into text and applies its stop strings.

    A request that is continued elsewhere starts with a `push` of the tokens already sent, whose pieces are
    dropped.

    Args:
        tokenizer: the model's.
        sampling: the request's; `stop`, `no_stop_trim` and `skip_special_tokens` matter here.
        prompt_ids: the prompt, for decoders whose first piece depends on it.
    """

    def __init__(self, tokenizer: Tokenizer, sampling: SamplingParams, prompt_ids: Sequence[int] = ()) -> None:
        self._detokenizer = tokenizer.detokenizer(sampling.skip_special_tokens, after=prompt_ids)
        self._matcher = StopMatcher(sampling.stop, trim=not sampling.no_stop_trim)
        self._keep_stop_token = sampling.no_stop_trim
        self._tokens = 0
        self._finish: Finish | None = None

    @property
    def finish(self) -> Finish | None:
        """How the text ended; None while it goes on."""
        return self._finish

    @property
    def stopped_by_text(self) -> bool:
        """True once a stop string ended the text: the engine's request may still run, so abort it."""
        return self._matcher.matched is not None

    def push(self, token_ids: Sequence[int], finish: Finish | None = None) -> list[TextPiece]:
        """Returns one piece per token, or one piece for a finish without tokens; nothing after the end.

        Args:
            token_ids: the new tokens in order.
            finish: the engine's end of the request, which belongs to the last of `token_ids`. A stop string
                that is complete with that same token wins over it, unless the request was aborted.
        """
        pieces: list[TextPiece] = []
        last = len(token_ids) - 1
        for index, token in enumerate(token_ids):
            if self._finish is not None:
                return pieces
            self._tokens += 1
            pieces.append(self._piece(token, finish if index == last else None))
        if not token_ids and finish is not None and self._finish is None:
            pieces.append(self._piece(None, finish))
        return pieces

    def _piece(self, token: int | None, finish: Finish | None) -> TextPiece:
        ended_by_token = finish is not None and finish.kind is FinishKind.STOP and finish.matched == token
        raw = ""
        if token is not None and (self._keep_stop_token or not ended_by_token):
            raw = self._detokenizer.push(token)
        if finish is not None:
            raw += self._detokenizer.flush()
        text, matched = self._matcher.push(raw)
        if matched is not None and (finish is None or finish.kind is not FinishKind.ABORT):
            finish = Finish(FinishKind.STOP, matched)
        elif finish is not None:
            text += self._matcher.flush()
        self._finish = finish
        return TextPiece(text, finish, self._tokens)
