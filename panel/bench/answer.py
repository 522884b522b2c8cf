"""What a client got, read strictly: text, tokens, and how often and how well it ended.

Pure: bytes in, an `Answer` out. An answer is well when it has exactly one end: a finish, or an error in the client's
own format, and for a stream `[DONE]` after it and nothing else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Answer", "StreamReader", "read_whole"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request came to.

    Attributes:
        status: of the response; 0 when there was none.
        text: all of it.
        token_ids: of /generate, None on other routes.
        finish: the reason why it ended, empty without one.
        error: the message of an error, empty without one.
        ends: finishes and errors that came; exactly 1 is right.
        faults: what is wrong with its form, one sentence each.
        retry_after: the header, empty without one.
    """

    status: int
    text: str = ""
    token_ids: tuple[int, ...] | None = None
    finish: str = ""
    error: str = ""
    ends: int = 0
    faults: tuple[str, ...] = ()
    retry_after: str = ""


@dataclass(slots=True)
class _Parts:
    text: str = ""
    token_ids: tuple[int, ...] | None = None
    finish: str = ""
    error: str = ""
    ends: int = 0
    faults: list[str] = field(default_factory=list)

    def take(self, data: Any, *, stream: bool) -> None:
        """Adds one JSON value of the answer."""
        if not isinstance(data, dict):
            self.faults.append(f"an event is {type(data).__name__}, not an object")
        elif "error" in data:
            found = data["error"]
            self.error = str(found.get("message", "")) if isinstance(found, dict) else str(found)
            if not self.error:
                self.faults.append("an error has no message")
            self.ends += 1
        elif "meta_info" in data:
            self._generate(data)
        elif data.get("choices"):
            self._openai(data["choices"][0], stream=stream)
        elif "usage" not in data:
            self.faults.append("an event has neither choices nor an error")

    def _generate(self, data: dict[str, Any]) -> None:
        if not data["text"].startswith(self.text):
            self.faults.append("the text of an event does not begin with that of the event before")
        self.text = data["text"]
        ids = tuple(data.get("output_ids", ()))
        if self.token_ids is not None and ids[: len(self.token_ids)] != self.token_ids:
            self.faults.append("the tokens of an event do not begin with those of the event before")
        self.token_ids = ids
        self._finish((data["meta_info"].get("finish_reason") or {}).get("type"))

    def _openai(self, choice: dict[str, Any], *, stream: bool) -> None:
        if "text" in choice:
            said = choice["text"]
        else:
            said = choice["delta" if stream else "message"].get("content")
        self.text += said or ""
        self._finish(choice.get("finish_reason"))

    def _finish(self, reason: str | None) -> None:
        if reason:
            self.finish = reason
            self.ends += 1


def read_whole(status: int, body: bytes, retry_after: str = "") -> Answer:
    """Returns the answer in a response that is no stream."""
    parts = _Parts()
    try:
        data = json.loads(body)
    except ValueError:
        return Answer(status, faults=(f"status {status} with a body that is not JSON",), retry_after=retry_after)
    parts.take(data, stream=False)
    if (status == 200) is bool(parts.error):
        parts.faults.append(f"status {status} with {'an error' if parts.error else 'no error'}")
    return _answer(status, parts, retry_after)


class StreamReader:
    """Takes a stream's bytes as they come.

    Attributes:
        events: how many events came, `[DONE]` not counted.
    """

    def __init__(self) -> None:
        self._parts = _Parts()
        self._rest = b""
        self._done = 0
        self.events = 0

    def feed(self, data: bytes) -> None:
        """Takes what arrived next."""
        *events, self._rest = (self._rest + data).split(b"\n\n")
        for event in events:
            self._take(event)

    def _take(self, event: bytes) -> None:
        lines = [line for line in event.split(b"\n") if line and not line.startswith((b":", b"id:"))]
        if not lines:
            return
        data = b"\n".join(line.removeprefix(b"data:").strip() for line in lines)
        if self._done:
            self._parts.faults.append("something follows [DONE]")
        if data == b"[DONE]":
            self._done += 1
            return
        self.events += 1
        if self._parts.ends:
            # A usage event stands between finish and [DONE] when it was asked for; ours never asks.
            self._parts.faults.append("an event follows the end")
        try:
            self._parts.take(json.loads(data), stream=True)
        except ValueError:
            self._parts.faults.append("an event is not JSON")

    def close(self, problem: str = "") -> Answer:
        """Returns the answer now that nothing more comes; `problem` is what broke the connection."""
        if problem:
            self._parts.faults.append(problem)
        if self._rest.strip():
            self._parts.faults.append("the stream ends within an event")
        if not self._done:
            self._parts.faults.append("the stream ends without [DONE]")
        return _answer(200, self._parts, "")


def _answer(status: int, parts: _Parts, retry_after: str) -> Answer:
    return Answer(
        status,
        parts.text,
        parts.token_ids,
        parts.finish,
        parts.error,
        parts.ends,
        tuple(parts.faults),
        retry_after,
    )
