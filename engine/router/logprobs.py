"""The logprobs of the prompt, which prefill alone knows, put in front of those that decode tells.

What SGLang's own load balancer does with meta_info.input_token_logprobs of /generate. Pure; called for requests that
ask for logprobs, since the events have to be parsed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from .events import Event

__all__ = ["LogprobJoin", "joined_answer"]

_FIELD = "input_token_logprobs"


def _logprobs(value: object) -> list[object]:
    """Returns the list in an answer or event; empty when there is none."""
    meta = value.get("meta_info") if isinstance(value, dict) else None
    found = meta.get(_FIELD) if isinstance(meta, dict) else None
    return found if isinstance(found, list) else []


def _parsed(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return None


def _put(value: object, logprobs: list[object]) -> bytes:
    """Returns `value` as JSON with `logprobs` in front of its own; empty when it has no place for them."""
    meta = value.get("meta_info") if isinstance(value, dict) else None
    if not logprobs or not isinstance(meta, dict):
        return b""
    own = _logprobs(value)
    if own[: len(logprobs)] == logprobs:
        return b""  # This worker knows them already.
    meta[_FIELD] = logprobs + own
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def joined_answer(prefill: bytes, decode: bytes) -> bytes:
    """Returns decode's whole answer with prefill's logprobs; a batch is joined answer by answer."""
    first, last = _parsed(prefill), _parsed(decode)
    if isinstance(first, list) and isinstance(last, list) and len(first) == len(last):
        parts = [_put(own, _logprobs(other)) for own, other in zip(last, first, strict=True)]
        if any(parts):
            kept = (
                json.dumps(own, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
                for own in last
            )
            return b"[" + b",".join(part or own for part, own in zip(parts, kept, strict=True)) + b"]"
        return decode
    return _put(last, _logprobs(first)) or decode


class LogprobJoin:
    """Joins the two streams of one request."""

    def __init__(self) -> None:
        self._known: list[object] = []

    def learn(self, events: Sequence[Event]) -> None:
        """Keeps the logprobs that prefill tells."""
        for event in events:
            if not self._known:
                self._known = _logprobs(_parsed(event.data))

    def joined(self, event: Event) -> Event:
        """Returns decode's event with prefill's logprobs."""
        payload = _put(_parsed(event.data), self._known)
        return event._replace(payload=b"data: " + payload + b"\n\n") if payload else event
