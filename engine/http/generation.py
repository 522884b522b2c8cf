"""One request from its submission to its end, as text: what all generation routes have in common.

Joins the engine's token events with the text stream (stop strings, detokenizing). A stop string ends the
request here, before the engine knows; a prefill worker is read to its end all the same, because the KV still
travels.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from ..config import Mode
from ..request import Finish, FinishKind, GenerateRequest, TokenEvent
from ..text.stream import TextPiece, TextStream
from .answer import AbortedByEngine
from .port import EnginePort

__all__ = ["Delta", "Generation", "Outcome"]


@dataclass(frozen=True, slots=True)
class Delta:
    """What one token added.

    Attributes:
        token_id: None for a finish that came without a token.
        text: may be empty.
        finish: set on the last one.
        completion_tokens: tokens so far, this one included.
    """

    token_id: int | None
    text: str
    finish: Finish | None
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished request.

    Attributes:
        finish: on prefill "length" when decode goes on, as SGLang's prefill says.
    """

    text: str
    token_ids: tuple[int, ...]
    finish: Finish


class Generation:
    """A request under way.

    Attributes:
        cached_tokens: prompt tokens whose KV was cached; known with the first delta.
        told_text: what the client has already, of a request that goes on elsewhere (`replayed_ids`).
        told_ids: the tokens of that text.
    """

    def __init__(self, engine: EnginePort, request: GenerateRequest) -> None:
        self.request = request
        self.cached_tokens = 0
        self._engine = engine
        self._is_prefill = engine.config.disaggregation_mode is Mode.PREFILL
        self._started = time.monotonic()
        self._text = TextStream(engine.tokenizer, request.sampling, request.prompt_ids)
        replayed = request.replayed_ids
        pieces = self._text.push(replayed, self._end_of(replayed))
        # Tokens that end the output are told again, with the end: the client may have missed it.
        self._end = pieces.pop() if pieces and pieces[-1].finish is not None else None
        self.told_text = "".join(piece.text for piece in pieces)
        self.told_ids = replayed[: len(pieces)]

    def _end_of(self, ids: tuple[int, ...]) -> Finish | None:
        """Returns the end that the engine sees behind `ids`, by the same rule as `Sequence.append`."""
        sampling = self.request.sampling
        stops = sampling.stop_token_ids + (() if sampling.ignore_eos else self._engine.model.eos_ids)
        if ids and ids[-1] in stops and len(ids) > sampling.min_new_tokens:
            return Finish(FinishKind.STOP, matched=ids[-1])
        if ids and sampling.max_new_tokens is not None and len(ids) >= sampling.max_new_tokens:
            return Finish(FinishKind.LENGTH, matched=len(ids))
        return None

    @property
    def prompt_tokens(self) -> int:
        """Length of the prompt."""
        return len(self.request.prompt_ids)

    @property
    def seconds(self) -> float:
        """Time since the request came."""
        return time.monotonic() - self._started

    async def deltas(self) -> AsyncGenerator[list[Delta], None]:
        """Yields what each event of the engine added; must be closed (`aclosing`), which aborts the request.

        Raises:
            PdpanelError: the engine refused or aborted it.
        """
        if self._end is not None:
            yield [Delta(self.request.replayed_ids[len(self.told_ids)], *_values(self._end))]
            return
        events = self._engine.submit(self.request)
        finished = False
        try:
            async for event in events:
                if event.finish is not None and event.finish.kind is FinishKind.ABORT:
                    raise AbortedByEngine(event.finish)
                self.cached_tokens = max(self.cached_tokens, event.cached_tokens)
                if finished:
                    continue
                deltas = _push(self._text, event)
                finished = bool(deltas) and deltas[-1].finish is not None
                if deltas:
                    yield deltas
                if finished and not self._is_prefill:
                    break
        finally:
            await events.aclose()
        if not finished and not self._is_prefill:
            lost = Finish(FinishKind.ABORT, message="The worker lost the request.", http_status=500)
            raise AbortedByEngine(lost)

    async def outcome(self) -> Outcome:
        """Returns the whole result.

        Raises:
            PdpanelError: the engine refused or aborted it.
        """
        texts = [self.told_text]
        ids = list(self.told_ids)
        finish: Finish | None = None
        async with aclosing(self.deltas()) as groups:
            async for group in groups:
                for delta in group:
                    texts.append(delta.text)
                    ids += [] if delta.token_id is None else [delta.token_id]
                    finish = delta.finish
        return Outcome("".join(texts), tuple(ids), finish or Finish(FinishKind.LENGTH, matched=len(ids)))


def _push(text: TextStream, event: TokenEvent) -> list[Delta]:
    pieces = text.push(event.token_ids, event.finish)
    ids: tuple[int | None, ...] = event.token_ids or (None,)
    return [Delta(token, *_values(piece)) for token, piece in zip(ids, pieces, strict=False)]


def _values(piece: TextPiece) -> tuple[str, Finish | None, int]:
    return piece.text, piece.finish, piece.completion_tokens
