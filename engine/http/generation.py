"""One request from its submission to its end, as text: what all generation routes have in common.

Joins the engine's token events with the text stream (stop strings, detokenizing). A stop string ends the
request here, before the engine knows; a prefill worker is read to its end all the same, because the KV still
travels.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from ..config import Mode
from ..request import Finish, FinishKind, GenerateRequest, TokenEvent, TokenLogprobs
from ..text.stream import TextPiece, TextStream
from .answer import AbortedByEngine
from .port import EnginePort

__all__ = ["Delta", "Generation", "Outcome", "interleave", "outcomes"]


@dataclass(frozen=True, slots=True)
class Delta:
    """What one token added.

    Attributes:
        token_id: None for a finish that came without a token.
        text: may be empty.
        finish: set on the last one.
        completion_tokens: tokens so far, this one included.
        logprobs: of the token, when they are asked for.
    """

    token_id: int | None
    text: str
    finish: Finish | None
    completion_tokens: int
    logprobs: TokenLogprobs | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished request.

    Attributes:
        deltas: what came, in order.
        finish: on prefill "length" when decode goes on, as SGLang's prefill says.
    """

    text: str
    token_ids: tuple[int, ...]
    finish: Finish
    deltas: tuple[Delta, ...]


class Generation:
    """A request under way.

    Attributes:
        cached_tokens: prompt tokens whose KV was cached; known with the first delta.
        prompt_scores: log probabilities of the prompt's tokens; known with the first delta.
        told_text: what the client has already, of a request that goes on elsewhere (`replayed_ids`).
        told_ids: the tokens of that text.
    """

    def __init__(self, engine: EnginePort, request: GenerateRequest) -> None:
        self.request = request
        self.cached_tokens = 0
        self.prompt_scores: tuple[TokenLogprobs, ...] = ()
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
                if event.scores is not None and event.scores.prompt:
                    self.prompt_scores = event.scores.prompt
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
        [outcome] = await outcomes([self])
        return outcome

    def outcome_of(self, deltas: Sequence[Delta]) -> Outcome:
        """Returns the result that the deltas make."""
        ids = self.told_ids + tuple(delta.token_id for delta in deltas if delta.token_id is not None)
        finish = deltas[-1].finish if deltas else None
        text = self.told_text + "".join(delta.text for delta in deltas)
        return Outcome(text, ids, finish or Finish(FinishKind.LENGTH, matched=len(ids)), tuple(deltas))


async def outcomes(generations: Sequence[Generation]) -> list[Outcome]:
    """Returns the results of several requests at once.

    Raises:
        PdpanelError: one was refused or aborted; the others are given up.
    """
    found: list[list[Delta]] = [[] for _ in generations]
    async with aclosing(interleave(generations)) as groups:
        async for index, deltas in groups:
            found[index] += deltas
    return [one.outcome_of(deltas) for one, deltas in zip(generations, found, strict=True)]


async def interleave(generations: Sequence[Generation]) -> AsyncGenerator[tuple[int, list[Delta]], None]:
    """Yields what any of several requests adds, with its index, as it comes; must be closed.

    They end together: when one fails the others are given up, as in SGLang, and the answer has the one error.

    Raises:
        PdpanelError: of the first that failed.
    """
    if len(generations) == 1:
        async with aclosing(generations[0].deltas()) as groups:
            async for deltas in groups:
                yield 0, deltas
        return
    ready: asyncio.Queue[tuple[int, list[Delta] | BaseException | None]] = asyncio.Queue(len(generations))

    async def pump(index: int, generation: Generation) -> None:
        end: BaseException | None = None
        try:
            async with aclosing(generation.deltas()) as groups:
                async for deltas in groups:
                    await ready.put((index, deltas))
        except Exception as error:
            end = error
        await ready.put((index, end))

    pumps = [asyncio.create_task(pump(index, one)) for index, one in enumerate(generations)]
    try:
        running = len(pumps)
        while running:
            index, item = await ready.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                running -= 1
            else:
                yield index, item
    finally:
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


def _push(text: TextStream, event: TokenEvent) -> list[Delta]:
    pieces = text.push(event.token_ids, event.finish)
    ids: tuple[int | None, ...] = event.token_ids or (None,)
    scores: tuple[TokenLogprobs | None, ...] = event.scores.tokens if event.scores is not None else (None,) * len(ids)
    return [Delta(token, *_values(piece), own) for token, piece, own in zip(ids, pieces, scores, strict=False)]


def _values(piece: TextPiece) -> tuple[str, Finish | None, int]:
    return piece.text, piece.finish, piece.completion_tokens
