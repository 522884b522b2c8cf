"""The JSON object of a request body, read strictly and within bounds.

Duplicate keys, NaN, lone surrogates, deep nesting and bodies that never end are refused, each with one
sentence. Called by every POST route.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, NoReturn

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ..errors import RequestError
from .fields import shown_name

__all__ = ["MAX_BODY_BYTES", "MAX_DEPTH", "BodyError", "parse_object", "read_object"]

MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 64
_READ_TIMEOUT_S = 60.0
_REMEDY = "send a JSON object"
_ENCODINGS = frozenset({"", "identity", "gzip", "deflate"})


class BodyError(RequestError):
    """Raised when the body as a whole cannot be read.

    Args:
        value: what came, in a few words.
        http_status: 400, 408, 413 or 415.
    """

    def __init__(self, value: str, problem: str, remedy: str, http_status: int = 400) -> None:
        super().__init__("body", value, problem, remedy)
        self.http_status = http_status


async def read_object(
    request: web.Request, *, may_be_empty: bool = False, most: int = MAX_BODY_BYTES
) -> dict[str, Any]:
    """Returns the request's JSON object; `{}` for no body where `may_be_empty`.

    Args:
        most: bytes of the body; the application reads no more either.

    Raises:
        RequestError: no JSON object, too large, or not complete in time.
    """
    if (request.content_length or 0) > most:
        raise _too_large(most)  # before any of it is read
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in _ENCODINGS:
        raise BodyError(f"encoded as {encoding[:40]}", "this server cannot decode it", "send it plain or gzipped", 415)
    try:
        async with asyncio.timeout(_READ_TIMEOUT_S):
            raw = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise _too_large(most) from error
    except TimeoutError as error:
        raise BodyError(
            "incomplete", "it did not arrive in time", f"send it within {_READ_TIMEOUT_S:.0f} s", 408
        ) from error
    except (web.RequestPayloadError, HttpProcessingError, web.HTTPException) as error:
        raise BodyError("broken", "its encoding or length is wrong", "send it plain or gzipped") from error
    if may_be_empty and not raw:
        return {}
    return parse_object(raw)


def _too_large(most: int) -> BodyError:
    return BodyError(f"more than {most} bytes", "too large", f"send at most {most} bytes", 413)


def parse_object(raw: bytes) -> dict[str, Any]:
    """Returns the JSON object in `raw`.

    Raises:
        RequestError: it is something else.
    """
    shown = raw[:40].decode("utf-8", "replace")
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise BodyError(shown, f"byte {error.start} is not UTF-8", "encode it as UTF-8") from error
    except RecursionError as error:
        raise _too_deep(shown) from error
    except json.JSONDecodeError as error:
        problem = f"not JSON ({error.msg.lower()}, line {error.lineno}, column {error.colno})"
        raise BodyError(shown, problem, _REMEDY) from error
    except ValueError as error:  # an integer of thousands of digits
        raise BodyError(shown, "a number in it is too long", "send numbers of at most 64 bits") from error
    if not isinstance(value, dict):
        raise BodyError(shown, f"a JSON {_kind(value)}, not an object", _REMEDY)
    if _depth_exceeds(value, MAX_DEPTH):
        raise _too_deep(shown)
    if b"\\u" in raw:
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise BodyError(shown, "a string has a lone surrogate, which is no character", "send Unicode") from error
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, value in pairs:
            if key in seen:
                raise RequestError(shown_name(key), value, "the field is given twice", "send it once")
            seen.add(key)
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise BodyError(name, "not a number of JSON", "send a finite number")


def _too_deep(shown: str) -> BodyError:
    return BodyError(shown, f"nested deeper than {MAX_DEPTH} levels", "send a flatter object")


def _depth_exceeds(value: object, most: int) -> bool:
    level: list[Any] = [value]
    for _ in range(most):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {list: "array", str: "string", bool: "boolean"}
    return names.get(type(value), "number")
