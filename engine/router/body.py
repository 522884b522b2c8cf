"""The body of a client's request: checked to be a JSON object, and given the fields that a pair of workers needs.

What the client wrote reaches the workers byte for byte; our fields are put at its end. Only when the client itself
wrote one of them is the body written anew without it. Everything else is for the workers to judge. Pure.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import RequestError
from .config import WorkerAddress
from .seeding import asks_for_logprobs, seeded

__all__ = ["REPLAYED_FIELD", "ROUTES", "Body", "Room", "draw_room", "is_header_safe", "read_body"]

ROUTES = ("/generate", "/v1/completions", "/v1/chat/completions")
Room = int | list[int]
_BOOTSTRAP = ("bootstrap_host", "bootstrap_port", "bootstrap_room")
REPLAYED_FIELD = "replayed_ids"
_PROMPTS = ("messages", "prompt", "input_ids", "text")
_encoder = json.JSONEncoder(separators=(",", ":"))  # `json.dumps` would make one for each request.
_SAFE_ID = re.compile(r"[\x21-\x7e]{1,256}")


def is_header_safe(text: object) -> bool:
    """True when `text` can name a request in a header: printable ASCII without blanks, at most 256 characters."""
    return isinstance(text, str) and _SAFE_ID.fullmatch(text) is not None


def draw_room() -> int:
    """Returns a random room from 1 to 2**63 - 1; 0 means none on the wire."""
    return 1 + secrets.randbelow(2**63 - 1)


@dataclass(frozen=True, slots=True)
class Body:
    """A checked body.

    Attributes:
        head: the JSON object without its closing brace.
        is_empty: whether the object has no fields.
        stream: whether the client asked for events.
        rid: the client's own request id; empty without one, or when it is no string.
        has_rid: whether the client gave any.
        batch: how many prompts or answers need a room each as a list; None for one scalar room.
        is_single: one prompt and one answer, so that workers can number the events.
        is_repeatable: the same tokens would come again: greedy, or sampled with a seed.
        has_logprobs: whether prefill's logprobs of the prompt belong into the answer.
        wants_usage: whether the stream ends with an event for the usage.
        prompt: the part by which prompts are told alike; any JSON value.
    """

    head: bytes
    is_empty: bool
    stream: bool
    rid: str
    has_rid: bool
    batch: int | None
    is_single: bool
    is_repeatable: bool = False
    has_logprobs: bool = False
    wants_usage: bool = False
    prompt: object = None

    @property
    def may_be_replayed(self) -> bool:
        """True when another pair can go on behind the events that a client has.

        Those of /generate repeat all logprobs from the first token on, which another pair does not know.
        """
        return self.stream and self.is_single and self.is_repeatable and not self.has_logprobs

    def prompt_bytes(self) -> bytes:
        """Returns the prompt, the first one of a batch, as bytes that begin alike when prompts do."""
        prompt = self.prompt
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list):
            prompt = prompt[0]
        if not isinstance(prompt, str):
            prompt = json.dumps(prompt, ensure_ascii=False, separators=(",", ":"))
        return prompt.encode("utf-8", "backslashreplace")

    def with_fields(self, fields: Mapping[str, object]) -> bytes:
        """Returns the JSON text with `fields` (none of which it has) at its end."""
        if not fields:
            return self.head + b"}"
        added = _encoder.encode(fields)[1:]
        return self.head + (b"" if self.is_empty else b",") + added.encode()

    def draw_rooms(self) -> Room:
        """Returns a fresh room, or a list of them for a batch."""
        return draw_room() if self.batch is None else [draw_room() for _ in range(self.batch)]

    def bootstrap(self, prefill: WorkerAddress, room: Room) -> dict[str, object]:
        """Returns the fields that tell both halves where they meet."""
        if isinstance(room, int):
            values = (prefill.host, prefill.bootstrap_port, room)
        else:
            values = ([prefill.host] * len(room), [prefill.bootstrap_port] * len(room), room)
        return dict(zip(_BOOTSTRAP, values, strict=True))


def _first_is(value: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], kind)


def _copies(fields: Mapping[str, object]) -> int:
    n = fields.get("n")
    return n if isinstance(n, int) and not isinstance(n, bool) and n > 1 else 1


def _batch(route: str, fields: Mapping[str, object]) -> tuple[int | None, bool]:
    """Returns how many rooms the request takes as a list (None: one scalar) and whether it has a single answer.

    The lists are sglang_router's: several prompts, or `n` of a chat. Other `n` share a scalar room, which engines
    count up from.
    """
    prompts: object = None
    sampling = fields
    if route == "/generate":
        text, ids = fields.get("text"), fields.get("input_ids")
        prompts = text if isinstance(text, list) else ids if _first_is(ids, list) else None
        given = fields.get("sampling_params")
        sampling = given if isinstance(given, dict) else {}
    elif route == "/v1/completions" and _first_is(fields.get("prompt"), (str, list)):
        prompts = fields["prompt"]
    copies = _copies(sampling)
    if isinstance(prompts, list) and prompts:
        return len(prompts), len(prompts) == 1 and copies == 1
    if route == "/v1/chat/completions" and copies > 1:
        return min(copies, 1024), False
    return None, copies == 1


def _parse(raw: bytes) -> tuple[str, dict[str, object]]:
    remedy = "send a JSON object"
    try:
        text = raw.decode("utf-8").strip(" \t\r\n")
        fields = json.loads(text)
    except UnicodeDecodeError:
        raise RequestError("body", raw[:60], "not UTF-8", remedy) from None
    except (ValueError, RecursionError) as error:
        problem = "nested too deeply" if isinstance(error, RecursionError) else f"not JSON ({error})"
        raise RequestError("body", raw[:60].decode("utf-8", "replace"), problem, remedy) from None
    if not isinstance(fields, dict):
        raise RequestError("body", text[:60], "JSON, but not an object", remedy)
    return text, fields


def read_body(route: str, raw: bytes, *, disaggregated: bool, seed: int | None = None) -> Body:
    """Returns the body of a POST to `route`, ready for our fields.

    Args:
        seed: given to a single stream that samples without one; None leaves it as it is.

    Raises:
        RequestError: it is no JSON object, or has a field that is the router's alone.
    """
    text, fields = _parse(raw)
    if REPLAYED_FIELD in fields:
        raise RequestError(REPLAYED_FIELD, fields[REPLAYED_FIELD], "set by the router alone", "leave it out")
    rid = fields.get("rid")
    ours = [name for name in _BOOTSTRAP if disaggregated and name in fields]
    if "rid" in fields and not rid:
        ours.append("rid")
    if ours:
        for name in ours:
            del fields[name]
        text = json.dumps(fields, separators=(",", ":"))
    batch, is_single = _batch(route, fields)
    stream = fields.get("stream") is True
    text, is_repeatable = seeded(route, text, fields, seed if stream and is_single else None)
    options = fields.get("stream_options")
    return Body(
        head=text[:-1].encode(),
        is_empty=text[1:-1].isspace() or len(text) == 2,
        stream=stream,
        rid=rid if isinstance(rid, str) else "",
        has_rid=bool(rid),
        batch=batch,
        is_single=is_single,
        is_repeatable=is_repeatable,
        has_logprobs=route == "/generate" and asks_for_logprobs(fields),
        wants_usage=isinstance(options, dict) and options.get("include_usage") is True,
        prompt=next((fields[name] for name in _PROMPTS if name in fields), None),
    )
