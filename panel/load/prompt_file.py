"""Reads a person's file of prompts: ShareGPT's JSON, JSONL, or plain text with one prompt a line.

Looks at nothing but the file that the person named. A line that holds no prompt is passed over; a file without any is
an error. Called by `server` before a load begins.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...engine.errors import ConfigError
from .lengths import MOST_TOKENS
from .prompts import Prompt

__all__ = ["read_prompts"]

_MOST_BYTES = 1 << 30
_MOST_PROMPTS = 100_000
_TEXT_KEYS = ("prompt", "text", "question", "input", "instruction")
_LENGTH_KEYS = ("output_tokens", "output_len", "max_tokens")
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


def read_prompts(path: Path) -> tuple[Prompt, ...]:
    """Returns the prompts of a file, the first hundred thousand.

    Of a conversation the turns up to the first question of the person are asked.

    Raises:
        ConfigError: it cannot be read, is larger than 1 GiB, or holds no prompt.
    """
    try:
        path = path.expanduser()
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError("prompts", str(path), "is larger than 1 GiB", "name a part of it")
        text = path.read_text("utf-8", errors="replace")
    except (OSError, ValueError, RuntimeError) as error:
        problem = (error.strerror if isinstance(error, OSError) else None) or "cannot be read"
        raise ConfigError("prompts", str(path), problem, "name a file that this user can read") from None
    found = []
    for value in _values(text, plain=path.suffix.lower() not in (".json", ".jsonl")):
        prompt = _prompt(value)
        if prompt is not None:
            found.append(prompt)
            if len(found) == _MOST_PROMPTS:
                break
    if not found:
        remedy = "name ShareGPT's JSON, lines of JSON with a key prompt, or a text with one prompt a line"
        raise ConfigError("prompts", str(path), "holds no prompt", remedy)
    return tuple(found)


def _values(text: str, *, plain: bool) -> Iterator[Any]:
    """Yields the JSON values of a text: the items of a list, its lines, or (plain) strings."""
    begin = text.lstrip()[:1]
    if begin == "[":
        try:
            listed = json.loads(text)
        except (ValueError, RecursionError):
            listed = None
        if isinstance(listed, list):
            yield from listed
            return
    for line in text.splitlines():
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = line
        # A line such as `42` or `null` of a plain text is what it says.
        if isinstance(value, dict) or (isinstance(value, str) and not plain and value is not line):
            yield value
        elif plain and begin != "{":
            yield line


def _prompt(value: Any) -> Prompt | None:
    if isinstance(value, str):
        return Prompt(value) if value.strip() else None
    if not isinstance(value, dict):
        return None
    length = next((n for key in _LENGTH_KEYS if (n := _count(value.get(key))) is not None), None)
    for key in ("conversations", "messages"):
        if isinstance(turns := value.get(key), list) and (messages := _messages(turns)):
            return Prompt("\n\n".join(text for _, text in messages), messages=messages, output_length=length)
    for key in _TEXT_KEYS:
        if isinstance(text := value.get(key), str) and text.strip():
            return Prompt(text, output_length=length)
    return None


def _messages(turns: list[Any]) -> tuple[tuple[str, str], ...]:
    """Returns the turns up to the first of the person; empty when there is none."""
    messages = []
    for turn in turns:
        if not isinstance(turn, dict):
            return ()
        role = _ROLES.get(str(turn.get("from") or turn.get("role")))
        text = turn.get("value") if "value" in turn else turn.get("content")
        if role is None or not isinstance(text, str):
            return ()
        if role != "assistant" and text.strip():
            messages.append((role, text))
        if role == "user" and text.strip():
            return tuple(messages)
    return ()


def _count(value: object) -> int | None:
    usable = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_TOKENS
    return value if usable and isinstance(value, int) else None
