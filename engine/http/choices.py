"""The choices of an OpenAI answer: whole, or as the events of a stream.

One `Choice` follows one request; `Envelope` puts its pieces into the objects that the client's types describe. Knows
no sockets; `engine.http.openai` drives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..request import Finish
from ..text.tokenizer import Tokenizer
from .generation import Delta, Generation
from .logprobs import ScoredToken, chat_logprobs, completion_logprobs
from .sse import StreamEvent

__all__ = ["Choice", "Envelope", "UsageOptions"]


@dataclass(frozen=True, slots=True)
class UsageOptions:
    """When a stream tells the usage: in a chunk of its own at the end, in every chunk, or both."""

    at_end: bool
    always: bool


@dataclass(frozen=True, slots=True)
class Envelope:
    """What all objects of one answer share."""

    id: str
    model: str
    created: int
    chat: bool
    usage_options: UsageOptions

    def wrap(self, choices: list[dict[str, Any]], *, chunk: bool) -> dict[str, Any]:
        """Returns the object around choices."""
        kind = "chat.completion" if self.chat else "text_completion"
        return {
            "id": self.id,
            "object": f"{kind}.chunk" if chunk and self.chat else kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }


class Choice:
    """One answer.

    Args:
        echo: text that completions put before the answer.
    """

    def __init__(self, generation: Generation, tokenizer: Tokenizer, envelope: Envelope, index: int, echo: str) -> None:
        self.generation = generation
        self.completion_tokens = len(generation.told_ids)
        self.finished = False
        self._tokenizer = tokenizer
        self._envelope = envelope
        self._index = index
        self._echo = echo
        self._opened = False
        self._new_ids: list[int] = []  # since the last event
        self._scored: list[ScoredToken] = []  # since the last event that told any
        self._offsets: list[int] = []
        self._characters = len(echo) + len(generation.told_text)

    def usage(self) -> dict[str, Any]:
        """Returns the usage of this choice so far."""
        return self.usage_of([self], [self])

    @staticmethod
    def usage_of(choices: Sequence[Choice], firsts: Sequence[Choice]) -> dict[str, Any]:
        """Returns the usage of several choices; a prompt counts once, with the first choice it has."""
        prompt_tokens = sum(choice.generation.prompt_tokens for choice in firsts)
        completion_tokens = sum(choice.completion_tokens for choice in choices)
        cached = sum(choice.generation.cached_tokens for choice in firsts)
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": cached},
        }

    def whole(self, text: str, deltas: Sequence[Delta], finish: Finish) -> dict[str, Any]:
        """Returns the choice of an answer that is not streamed."""
        for delta in deltas:
            self._take(delta)
            self._characters += len(delta.text)
        text = self._echo + text
        content = {"message": {"role": "assistant", "content": text}} if self._envelope.chat else {"text": text}
        return {"index": self._index, **content, "logprobs": self._told_logprobs(), **_reason(finish)}

    def events(self, deltas: Sequence[Delta]) -> list[StreamEvent]:
        """Returns the events of what came; those of a token that makes several are all in one list."""
        events = [] if self._opened else self._opening()
        self._opened = True
        for delta in deltas:
            self._take(delta)
            number = delta.completion_tokens
            if delta.text:
                # A token that makes several events is told with the last: who has that one has them all.
                is_last = delta.finish is None
                events.append(self._event(number, self._piece(delta.text), tell_ids=is_last))
            if delta.finish is not None:
                self.finished = True
                closing = {**self._piece(""), **_reason(delta.finish)}
                if self._envelope.chat:
                    closing["delta"] = {}
                events.append(self._event(number + 1, closing, tell_ids=not self._envelope.usage_options.at_end))
        return events

    def take_new_ids(self) -> tuple[int, ...]:
        """Returns the tokens that no event has told yet, which the caller's event tells."""
        ids = tuple(self._new_ids)
        self._new_ids.clear()
        return ids

    def _take(self, delta: Delta) -> None:
        self.completion_tokens = delta.completion_tokens
        if delta.token_id is not None:
            self._new_ids.append(delta.token_id)
            self._scored.append((delta.token_id, delta.logprobs))
            self._offsets.append(self._characters)

    def _opening(self) -> list[StreamEvent]:
        """What comes before the first token: a chat's role, a completion's echo."""
        if self._envelope.chat:
            choice = {"index": self._index, "delta": {"role": "assistant", "content": ""}}
        elif self._echo:
            choice = {"index": self._index, "text": self._echo}
        else:
            return []
        return [self._event(0, {**choice, "logprobs": None, "finish_reason": None}, tell_ids=False)]

    def _piece(self, text: str) -> dict[str, Any]:
        self._characters += len(text)
        content: dict[str, Any] = {"delta": {"content": text}} if self._envelope.chat else {"text": text}
        return {"index": self._index, **content, "logprobs": self._told_logprobs(), "finish_reason": None}

    def _told_logprobs(self) -> dict[str, Any] | None:
        scored, offsets = tuple(self._scored), tuple(self._offsets)
        self._scored.clear()
        self._offsets.clear()
        if not scored or self.generation.request.logprobs is None:
            return None
        if self._envelope.chat:
            return chat_logprobs(self._tokenizer, scored)
        return completion_logprobs(self._tokenizer, scored, offsets)

    def _event(self, number: int, choice: dict[str, Any], *, tell_ids: bool) -> StreamEvent:
        chunk = self._envelope.wrap([choice], chunk=True)
        options = self._envelope.usage_options
        if options.always:
            chunk["usage"] = self.usage() if number else self._usage_before()
        elif options.at_end:
            chunk["usage"] = None
        return StreamEvent(number, chunk, self.take_new_ids() if tell_ids else ())

    def _usage_before(self) -> dict[str, Any]:
        """The usage before the first token."""
        usage = self.usage()
        return {**usage, "completion_tokens": 0, "total_tokens": usage["prompt_tokens"]}


def _reason(finish: Finish) -> dict[str, Any]:
    matched = finish.matched if finish.kind.value == "stop" else None
    return {"finish_reason": finish.kind.value, "matched_stop": matched}
