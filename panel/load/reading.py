"""When the tokens of one streamed answer arrived: bytes with their time in, times and counts out.

Pure, and quick: it is all that runs between two tokens. An event may carry several tokens: where the server says how
many there are so far, each gets its share of the time since the event before; otherwise an event with text is one
token, and the totals come from the usage at the end. Called by `client`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

import msgspec

__all__ = ["AnswerReader", "BadAnswerError"]

_LONGEST_EVENT = 1 << 20
_Seen = Callable[[float, int, float], None]


class BadAnswerError(Exception):
    """Raised when what came is no answer; its text says why, `kind` names it in a word."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        super().__init__(text)


class _Said(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Any] | None = None


class _Choice(msgspec.Struct):
    text: str | None = None
    delta: _Said | None = None
    finish_reason: Any = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Meta(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: Any = None


class _Event(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    meta_info: _Meta | None = None
    error: Any = None
    object: Any = None
    message: Any = None


_DECODER = msgspec.json.Decoder(_Event)


class AnswerReader:
    """Reads one answer.

    Args:
        sent_s: when the request was sent.
        most_tokens: with more the server does not keep to what was asked, and the answer is given up.
        seen: is told of tokens as they arrive: (time, how many, gap of each); the first one's gap is -1.

    Attributes:
        first_s: when the first token came, last_s the last one; both None before there is one.
        gaps: time between tokens, in s, one for each token after those of the first event.
        tokens: of the answer, as they were counted on arrival.
        prompt_tokens: as the server counts them, None when it does not say; output_tokens likewise.
        finished: the server said that the answer ends.
    """

    __slots__ = (
        "_most",
        "_rest",
        "_seen",
        "finished",
        "first_s",
        "gaps",
        "last_s",
        "output_tokens",
        "prompt_tokens",
        "sent_s",
        "tokens",
    )

    def __init__(self, sent_s: float, most_tokens: int, seen: _Seen | None = None) -> None:
        self.sent_s = sent_s
        self.first_s: float | None = None
        self.last_s: float | None = None
        self.gaps = array("d")
        self.tokens = 0
        self.prompt_tokens: int | None = None
        self.output_tokens: int | None = None
        self.finished = False
        self._most = most_tokens
        self._rest = b""
        self._seen = seen

    def feed(self, data: bytes, now: float) -> None:
        """Takes what arrived at `now`; raises BadAnswerError for what is no answer."""
        lines = (self._rest + data).split(b"\n") if self._rest else data.split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if line.startswith(b"data:"):
                self._take(line[5:].strip(), now)
        if len(self._rest) > _LONGEST_EVENT:
            raise BadAnswerError("garbage", "an event has more than 1 MiB")

    def close(self, now: float) -> None:
        """Takes the end of the stream; raises BadAnswerError when the answer is not whole."""
        if self._rest.startswith(b"data:"):
            self._take(self._rest[5:].strip(), now)
        if not self.finished:
            raise BadAnswerError("broken", "the stream ended before the answer did")
        if self.first_s is None:
            raise BadAnswerError("empty", "the answer has no token")

    def _take(self, data: bytes, now: float) -> None:
        if data == b"[DONE]":
            self.finished = True
            return
        if not data:
            return
        try:
            event = _DECODER.decode(data)
        except msgspec.MsgspecError:
            raise BadAnswerError("garbage", f"an event is no answer: {data[:80]!r}") from None
        if event.error is not None or event.object == "error":
            raise BadAnswerError("error", _words(event.error if event.error is not None else event.message))
        counted: int | None = None
        arrived = 0
        if event.meta_info is not None:
            meta = event.meta_info
            counted, self.prompt_tokens = meta.completion_tokens, meta.prompt_tokens
            if counted is None:
                arrived = 1
            self.finished = self.finished or bool(meta.finish_reason)
        else:
            if event.usage is not None:
                counted = event.usage.completion_tokens
                if event.usage.prompt_tokens is not None:
                    self.prompt_tokens = event.usage.prompt_tokens
            choices = event.choices or ()
            for choice in choices:
                arrived += bool(choice.text) or (choice.delta is not None and _says(choice.delta))
                self.finished = self.finished or bool(choice.finish_reason)
            if counted is not None and not choices:
                # The usage at the end: nothing arrives with it.
                self.output_tokens = counted
                return
        if counted is not None:
            self.output_tokens = counted
            arrived = counted - self.tokens
        if arrived > 0:
            self._arrive(arrived, now)

    def _arrive(self, count: int, now: float) -> None:
        gap = -1.0
        if self.last_s is None:
            self.first_s = now
        else:
            gap = (now - self.last_s) / count
            self.gaps.extend((gap,) * count if count > 1 else (gap,))
        self.last_s = now
        self.tokens += count
        if self._seen is not None:
            self._seen(now, count, gap)
        if self.tokens > self._most:
            raise BadAnswerError("endless", f"the answer did not end after {self._most} tokens")


def _says(said: _Said) -> bool:
    return bool(said.content or said.reasoning_content or said.reasoning or said.tool_calls)


def _words(error: Any) -> str:
    if isinstance(error, dict):
        error = error.get("message", error)
    return str(error)[:300] or "the server gave no reason"
