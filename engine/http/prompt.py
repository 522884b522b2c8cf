"""The prompt of a request as token ids.

Text is rendered and encoded on a thread, so that a long prompt does not hold up the streams of others. Called
by the routes; knows no sampling.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ..errors import RequestError
from .port import EnginePort
from .values import Reader

__all__ = ["Prompt", "read_chat_prompt", "read_completion_prompt", "read_generate_prompt"]

# Encoding time grows with the text. Natural text has 3 to 5 characters a token; what exceeds this cannot fit.
_CHARACTERS_PER_TOKEN = 64
_SHORT_TEXT = 2000
_ROLES = ("system", "developer", "user", "assistant", "tool")
_MESSAGE_FIELDS = ("role", "content", "name")
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


async def read_generate_prompt(engine: EnginePort, body: Reader) -> tuple[str, Prompt]:
    """Returns the field of a /generate request's prompt, `text` or `input_ids`, and the token ids.

    Raises:
        RequestError: both or neither are there, or it is empty, a batch, or no prompt at all.
    """
    if body.has("text") == body.has("input_ids"):
        if body.has("text"):
            raise body.refuse("input_ids", "text is given too", "send one of the two")
        raise body.refuse("text", "no prompt", "send text (a string) or input_ids (a list of token ids)")
    if body.has("input_ids"):
        return "input_ids", _ids(engine, body, "input_ids")
    if isinstance(body.raw("text"), list):
        raise body.refuse("text", "a list of prompts", "send one request per prompt")
    return "text", await _text(engine, body, "text", body.text("text", ""))


async def read_completion_prompt(engine: EnginePort, body: Reader) -> tuple[str, Prompt]:
    """Returns the field `prompt` and its token ids; a list of one prompt counts as that prompt.

    Raises:
        RequestError: it is empty, a batch, or no prompt at all.
    """
    value = body.raw("prompt")
    if value is None:
        raise body.refuse("prompt", "no prompt", "send a string or a list of token ids")
    if isinstance(value, list) and any(isinstance(item, str | list) for item in value):
        if len(value) > 1:
            raise body.refuse("prompt", "a list of prompts", "send one request per prompt")
        value = value[0]
    if isinstance(value, str):
        return "prompt", await _text(engine, body, "prompt", value)
    if not isinstance(value, list):
        raise body.refuse("prompt", "not a string", "send a string or a list of token ids")
    return "prompt", _ids(engine, Reader({"prompt": value}), "prompt")


def _ids(engine: EnginePort, body: Reader, field: str) -> Prompt:
    value = body.raw(field)
    if isinstance(value, list) and value and all(isinstance(item, list) for item in value):
        raise body.refuse(field, "a list of prompts", "send one request per prompt")
    ids = body.token_ids(field, engine.model.vocab_size)
    if not ids:
        raise body.refuse(field, "the prompt is empty", "send at least one token id")
    return ids


async def _text(engine: EnginePort, body: Reader, field: str, text: str) -> Prompt:
    if not text:
        raise body.refuse(field, "the prompt is empty", "send at least one character")
    return await _encode(engine, field, text)


async def read_chat_prompt(engine: EnginePort, body: Reader) -> tuple[str, Prompt]:
    """Returns the field `messages` and the token ids of the rendered chat.

    Raises:
        RequestError: a message is malformed or the model's chat template refuses it.
    """
    messages = body.raw("messages")
    if not isinstance(messages, list) or not messages:
        problem = "not a list of messages" if messages else "no messages"
        raise body.refuse("messages", problem, 'send a list such as [{"role": "user", "content": "Hi"}]')
    for index, message in enumerate(messages):
        _check_message(f"messages[{index}]", message)
    extra = body.object("chat_template_kwargs")
    add_generation_prompt = body.boolean("add_generation_prompt", True)
    continue_final_message = body.boolean("continue_final_message", False)
    text = await asyncio.to_thread(
        engine.tokenizer.render_chat,
        [{key: value for key, value in message.items() if value is not None} for message in messages],
        add_generation_prompt=add_generation_prompt,
        continue_final_message=continue_final_message,
        extra=extra,
    )
    return "messages", await _encode(engine, "messages", text, add_special_tokens=False)


def _check_message(path: str, message: object) -> None:
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
        reader.text("name", "", longest=256)
    _check_content(reader, message.get("content"))


def _check_content(reader: Reader, content: Any) -> None:
    remedy = "send a string or a list of text parts"
    if content is None:
        raise reader.refuse("content", "no text", remedy)
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise reader.refuse("content", "not text", remedy)
    for index, part in enumerate(content):
        path = reader.name(f"content[{index}]")
        if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
            raise RequestError(path, part, "not a text part", 'send {"type": "text", "text": "..."}')
        if part["type"] != "text":
            raise RequestError(f"{path}.type", part["type"], "the model takes text only", 'set it to "text"')
        if not isinstance(part.get("text"), str):
            raise RequestError(f"{path}.text", part.get("text"), "not a string", "send a string")
        if set(part) - {"type", "text"}:
            extra = min(set(part) - {"type", "text"})
            raise RequestError(f"{path}.{extra!r}", part[extra], "no such field", "leave it out")
