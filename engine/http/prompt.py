"""The prompts of a request as token ids.

Text is rendered and encoded on a thread, so that a long prompt does not hold up the streams of others. Called
by the routes; knows no sampling.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import RequestError
from ..vision.request_image import RequestImage
from .images import image_part_schema, read_image_data, read_image_part, templated
from .port import EnginePort
from .values import JsonObject, Reader

if TYPE_CHECKING:
    from ..vision.inputs import ImagePlace

__all__ = [
    "MAX_PROMPTS",
    "ChatOptions",
    "Prompt",
    "Prompts",
    "Source",
    "message_schema",
    "read_chat_options",
    "read_chat_prompts",
    "read_completion_prompts",
    "read_generate_prompts",
]

# Encoding time grows with the text. Natural text has 3 to 5 characters a token; what exceeds this cannot fit.
_CHARACTERS_PER_TOKEN = 64
_SHORT_TEXT = 2000
_LONGEST_NAME = 256
MAX_PROMPTS = 4096
_ROLES = ("system", "developer", "user", "assistant", "tool")
_MESSAGE_FIELDS = ("role", "content", "name")
_TEXT_ALONE = ("text", 'set it to "text"')
_NEUTRAL_MESSAGE_FIELDS = ("tool_calls", "tool_call_id", "refusal", "reasoning_content", "annotations", "audio")

Prompt = tuple[int, ...]


async def _encode(engine: EnginePort, field: str, text: str, *, add_special_tokens: bool = True) -> Prompt:
    most = _CHARACTERS_PER_TOKEN * engine.model.context_length
    if len(text) > most:
        raise RequestError(
            field,
            f"{len(text)} characters",
            f"too long for the context of {engine.model.context_length} tokens",
            f"send at most {most} characters",
        )
    if len(text) <= _SHORT_TEXT:
        return tuple(engine.tokenizer.encode(text, add_special_tokens=add_special_tokens))
    ids = await asyncio.to_thread(engine.tokenizer.encode, text, add_special_tokens=add_special_tokens)
    return tuple(ids)


@dataclass(frozen=True, slots=True)
class Source:
    """One prompt, not yet encoded.

    Attributes:
        field: its name in the request.
        encode: returns its token ids.
        text: as the client wrote it; None for token ids and chats.
        places: where the request has its images.
        bare_images: whether these may be base64 without `data:` in front.
    """

    field: str
    encode: Callable[[], Awaitable[Prompt]]
    text: str | None = None
    places: tuple[ImagePlace, ...] = ()
    bare_images: bool = False

    async def images(self, engine: EnginePort) -> tuple[RequestImage, ...]:
        """Returns its images.

        Raises:
            RequestError: one is none, or too large.
        """
        inputs = engine.model.images
        return await inputs.load(self.places, bare=self.bare_images) if inputs and self.places else ()


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of a request.

    Attributes:
        listed: they came as a list, be it of one.
    """

    sources: tuple[Source, ...]
    listed: bool = False


def read_generate_prompts(engine: EnginePort, body: Reader) -> Prompts:
    """Returns the prompts of a /generate request: `text` or `input_ids`, each one or a list.

    Raises:
        RequestError: both or neither are there, or there is no prompt in them.
    """
    if body.has("text") == body.has("input_ids"):
        if body.has("text"):
            raise body.refuse("input_ids", "text is given too", "send one of the two")
        raise body.refuse("text", "no prompt", "send text (a string) or input_ids (a list of token ids)")
    field = "text" if body.has("text") else "input_ids"
    value = body.raw(field)
    if not isinstance(value, list) or (field == "input_ids" and not any(isinstance(item, list) for item in value)):
        prompts = Prompts((_source(engine, field, value, body),))
    else:
        prompts = _listed(engine, body, field, value)
    found = read_image_data(body, engine.model.images, len(prompts.sources), listed=prompts.listed)
    sources = (replace(one, places=own, bare_images=True) for one, own in zip(prompts.sources, found, strict=True))
    return Prompts(tuple(sources), prompts.listed)


def read_completion_prompts(engine: EnginePort, body: Reader) -> Prompts:
    """Returns the prompts of a completion: a string, a list of token ids, or a list of either.

    Raises:
        RequestError: there is no prompt in it.
    """
    value = body.raw("prompt")
    if isinstance(value, list) and any(isinstance(item, str | list) for item in value):
        return _listed(engine, body, "prompt", value)
    if value is None or not isinstance(value, str | list):
        problem = "no prompt" if value is None else "not a string"
        raise body.refuse("prompt", problem, "send a string or a list of token ids")
    return Prompts((_source(engine, "prompt", value, body),))


def _listed(engine: EnginePort, body: Reader, field: str, values: list[Any]) -> Prompts:
    if not values:
        raise body.refuse(field, "the list of prompts is empty", "send at least one prompt")
    if len(values) > MAX_PROMPTS:
        raise body.refuse(field, f"{len(values)} prompts are too many", f"send at most {MAX_PROMPTS}")
    sources = (_source(engine, f"{field}[{index}]", value, body) for index, value in enumerate(values))
    return Prompts(tuple(sources), listed=True)


def _source(engine: EnginePort, field: str, value: object, body: Reader) -> Source:
    reader = Reader({field: value})
    takes_ids = not field.startswith("text")
    takes_text = not field.startswith("input_ids")

    async def encode_text() -> Prompt:
        text = reader.text(field, "")
        if not text:
            raise reader.refuse(field, "the prompt is empty", "send at least one character")
        return await _encode(engine, field, text)

    async def check_ids() -> Prompt:
        ids = reader.token_ids(field, engine.model.vocab_size)
        if not ids:
            raise reader.refuse(field, "the prompt is empty", "send at least one token id")
        return ids

    if takes_text and (isinstance(value, str) or not takes_ids):
        return Source(field, encode_text, value if isinstance(value, str) else None)
    return Source(field, check_ids)


def read_chat_prompts(engine: EnginePort, body: Reader) -> Prompts:
    """Returns the one prompt that `messages` make.

    Raises:
        RequestError: a message is malformed; encoding it, the model's chat template refuses it.
    """
    messages = body.raw("messages")
    if not isinstance(messages, list) or not messages:
        problem = "not a list of messages" if messages else "no messages"
        raise body.refuse("messages", problem, 'send a list such as [{"role": "user", "content": "Hi"}]')
    inputs = engine.model.images
    places: list[ImagePlace] = []
    for index, message in enumerate(messages):
        places += _check_message(f"messages[{index}]", message, with_images=inputs is not None)
    if inputs is not None:
        inputs.check_count(places)
    options = read_chat_options(body)
    chat = [{key: value for key, value in message.items() if value is not None} for message in messages]
    keep_parts = inputs is not None and engine.tokenizer.template_takes_parts
    if inputs is not None:
        chat = templated(chat, inputs, takes_parts=keep_parts)

    async def render() -> Prompt:
        text = await asyncio.to_thread(
            engine.tokenizer.render_chat,
            chat,
            keep_parts=keep_parts,
            add_generation_prompt=options.add_generation_prompt,
            continue_final_message=options.continue_final_message,
            extra=options.extra,
        )
        return await _encode(engine, "messages", text, add_special_tokens=False)

    return Prompts((Source("messages", render, places=tuple(places)),))


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """How a chat is rendered; see `Tokenizer.render_chat`."""

    extra: JsonObject
    add_generation_prompt: bool
    continue_final_message: bool


def read_chat_options(body: Reader) -> ChatOptions:
    """Returns how the messages are to be rendered.

    Raises:
        RequestError: a field is malformed.
    """
    return ChatOptions(
        body.object("chat_template_kwargs"),
        body.boolean("add_generation_prompt", True),
        body.boolean("continue_final_message", False),
    )


def message_schema(*, with_images: bool = False) -> dict[str, Any]:
    """Returns the JSON schema of one message."""
    part: dict[str, Any] = {
        "type": "object",
        "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
        "required": ["type", "text"],
        "additionalProperties": False,
    }
    if with_images:
        part = {"anyOf": [part, image_part_schema()]}
    return {
        "type": "object",
        "properties": {
            "role": {"enum": list(_ROLES)},
            "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": part}]},
            "name": {"type": ["string", "null"], "maxLength": _LONGEST_NAME},
            **{field: {"enum": [None, []]} for field in _NEUTRAL_MESSAGE_FIELDS},
        },
        "required": ["role", "content"],
        "additionalProperties": False,
    }


def _check_message(path: str, message: object, *, with_images: bool) -> list[ImagePlace]:
    """Returns where the message has images."""
    if not isinstance(message, Mapping):
        raise RequestError(path, message, "not a message", 'send {"role": ..., "content": ...}')
    reader = Reader(message, path)
    for field in message:
        if field in _MESSAGE_FIELDS or (field in _NEUTRAL_MESSAGE_FIELDS and message[field] in (None, [])):
            continue
        remedy = "leave it out" if field in _NEUTRAL_MESSAGE_FIELDS else "send role and content"
        raise reader.refuse(field, "the bundled engine does not implement it", remedy)
    role = message.get("role")
    if role not in _ROLES:
        raise reader.refuse("role", "no role", f"use one of {', '.join(_ROLES)}")
    if reader.has("name"):
        reader.text("name", "", longest=_LONGEST_NAME)
    return _check_content(reader, message.get("content"), with_images=with_images)


def _check_content(reader: Reader, content: Any, *, with_images: bool) -> list[ImagePlace]:
    remedy = "send a string or a list of text parts"
    if content is None:
        raise reader.refuse("content", "no text", remedy)
    if isinstance(content, str):
        return []
    if not isinstance(content, list):
        raise reader.refuse("content", "not text", remedy)
    places: list[ImagePlace] = []
    for index, part in enumerate(content):
        path = reader.name(f"content[{index}]")
        if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
            raise RequestError(path, part, "not a text part", 'send {"type": "text", "text": "..."}')
        if part["type"] == "image_url" and with_images:
            places.append(read_image_part(path, part))
            continue
        if part["type"] != "text":
            takes, remedy = ("text and images", 'set it to "text" or "image_url"') if with_images else _TEXT_ALONE
            raise RequestError(f"{path}.type", part["type"], f"the model takes {takes} only", remedy)
        if not isinstance(part.get("text"), str):
            raise RequestError(f"{path}.text", part.get("text"), "not a string", "send a string")
        if set(part) - {"type", "text"}:
            extra = min(set(part) - {"type", "text"})
            raise RequestError(f"{path}.{extra!r}", part[extra], "no such field", "leave it out")
    return places
