"""JSON that people pasted: found inside other text, repaired where its meaning is plain, and written back.

Pure. What is repaired: quotes that a shell took away or that were escaped once too often, single quotes, and commas
before a closing bracket. Called by the rules on configurations.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["compact", "embedded_objects", "pretty", "read_object", "repair"]

_MOST_OBJECTS = 64
_MOST_REPAIRED = 64 * 1024
_OBJECT = re.compile(r"^[ \t]*(\{)[ \t]*(?:\"|$)", re.MULTILINE)
_BARE = re.compile(r"[A-Za-z0-9_./:+-]+")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,18})(?:\.\d{1,18})?(?:[eE][+-]?\d{1,3})?\Z")


def read_object(text: str) -> dict[str, Any] | None:
    """Returns the JSON object that `text` is, None when it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def repair(text: str) -> dict[str, Any] | None:
    """Returns the JSON object that was most likely meant, None when that is not plain."""
    text = text.strip()[:_MOST_REPAIRED]
    for candidate in (
        text,
        text.replace('\\"', '"'),
        text.replace('\\"', '"').replace("'", '"'),
        re.sub(r",(\s*[}\]])", r"\1", text),
    ):
        if (found := read_object(candidate)) is not None:
            return found
    quoted = _quoted(text.replace('"', "").replace("'", "").replace("\\", ""))
    return read_object(re.sub(r",([}\]])", r"\1", quoted)) if quoted else None


def _quoted(text: str) -> str:
    """Returns bare words of an object in quotes; a colon inside a value such as a URL stays one."""
    pieces: list[str] = []
    at, depth, is_key = 0, 0, False
    while at < len(text):
        char = text[at]
        if char in "{[":
            depth += 1
            is_key = char == "{"
            pieces.append(char)
            at += 1
        elif char in "}],":
            depth -= char != ","
            # A comma may end a value of an object or of a list; the next bare word with a colon is a key.
            is_key = char == ","
            pieces.append(char)
            at += 1
        elif char == ":":
            is_key = False
            pieces.append(char)
            at += 1
        elif char.isspace():
            at += 1
        else:
            match = _BARE.match(text, at)
            if match is None:
                return ""
            word = match.group()
            if is_key and ":" in word:
                word = word.partition(":")[0]
            at += len(word) or 1
            plain = word in {"true", "false", "null"} or (_NUMBER.match(word) and not is_key)
            pieces.append(word if plain else json.dumps(word))
        if depth > 32:
            return ""
    return "".join(pieces)


def embedded_objects(text: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yields (start, end, object) of the JSON objects that begin on lines of their own, such as in a here-document."""
    decoder = json.JSONDecoder()
    behind = count = 0
    for match in _OBJECT.finditer(text):
        if match.start(1) < behind or count >= _MOST_OBJECTS:
            continue
        count += 1
        try:
            # An object of a configuration is small; reading on for long would be slow for many of them.
            value, end = decoder.raw_decode(text[match.start(1) : match.start(1) + _MOST_REPAIRED])
        except (ValueError, RecursionError):
            continue
        behind = match.start(1) + end
        if isinstance(value, dict):
            yield match.start(1), behind, value


def compact(value: Any) -> str:
    """Returns JSON for a command line."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def pretty(value: Any) -> str:
    """Returns JSON for a file, without a last newline."""
    return json.dumps(value, indent=2, ensure_ascii=False)
