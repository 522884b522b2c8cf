"""Sends one request of a load and takes its times; a failure is a value with its kind, never an exception.

The clock is monotonic and read when the bytes are handed over by the event loop. Called by `driver` and `server`.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientConnectorError, ClientError, ClientSession, ClientTimeout, TCPConnector

from ..runner.journal import clean_line
from .plan import Planned
from .prompts import Prompt
from .reading import AnswerReader, BadAnswerError
from .spec import LoadSpec, Route

__all__ = ["Failure", "Outcome", "allow_connections", "ask", "body_of", "connect_problem", "open_session", "refusal"]

_CONNECT_S = 30.0
_SPARE_FILES = 256
_MOST_REFUSAL_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request has no answer.

    Attributes:
        kind: status-400 and so on, connect, broken, timeout, garbage, endless, empty or error.
        text: one sentence, of the server where it gave one.
    """

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a request came to; `ended_s` and the reader's times are of one monotonic clock."""

    reader: AnswerReader
    ended_s: float
    failure: Failure | None = None


def allow_connections(wanted: int) -> None:
    """Raises this process's limit of open files as far as it may, for so many connections at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = wanted + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < enough:
        most = enough if hard == resource.RLIM_INFINITY else min(enough, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def open_session(api_key: str = "") -> ClientSession:
    """Returns a session that keeps connections and opens as many as are wanted."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    timeout = ClientTimeout(total=None, sock_connect=_CONNECT_S)
    return ClientSession(connector=TCPConnector(limit=0), timeout=timeout, trust_env=False, headers=headers)


def body_of(
    spec: LoadSpec, model: str, prompt: Prompt, output_length: int, options: Mapping[str, bool]
) -> dict[str, Any]:
    """Returns the request's body.

    Args:
        spec: the load.
        model: as the server names it.
        prompt: what is asked.
        output_length: the most tokens of the answer, and the fewest with `ignore_eos`.
        options: what the server understands as `stream_options`; empty leaves them out.
    """
    if spec.route is Route.GENERATE:
        sampling = {"temperature": spec.temperature, "max_new_tokens": output_length}
        asked: dict[str, Any] = {"input_ids": list(prompt.token_ids)} if prompt.token_ids else {"text": prompt.text}
        return {
            **asked,
            "sampling_params": sampling | ({"ignore_eos": True} if spec.ignore_eos else {}),
            "stream": True,
        }
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": output_length,
        "temperature": spec.temperature,
        "stream": True,
    }
    if options:
        body["stream_options"] = dict(options)
    if spec.ignore_eos:
        body["ignore_eos"] = True
    if spec.route is Route.CHAT:
        turns = prompt.messages or (("user", prompt.text),)
        body["messages"] = [{"role": role, "content": text} for role, text in turns]
    else:
        body["prompt"] = list(prompt.token_ids) if prompt.token_ids else prompt.text
    return body


def refusal(status: int, body: bytes) -> str:
    """Returns the one sentence of an error's body: OpenAI's, SGLang's, FastAPI's or plain text."""
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        value = body.decode("utf-8", "replace")
    for key in ("error", "message", "detail"):
        if isinstance(value, dict) and key in value:
            value = value[key]
    text = value if isinstance(value, str) else json.dumps(value)
    return clean_line(text).rstrip(".") or f"the server gave no reason for status {status}"


async def ask(
    session: ClientSession,
    spec: LoadSpec,
    body: Mapping[str, Any],
    planned: Planned,
    seen: Callable[[float, int, float], None] | None = None,
) -> Outcome:
    """Returns what the request came to; raises nothing but CancelledError.

    Args:
        session: of `open_session`.
        spec: says where to and how long at most.
        body: of `body_of`.
        planned: what was asked; an answer of more than twice its length and 64 tokens is given up.
        seen: is told of tokens as they arrive.
    """
    data = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    reader = AnswerReader(time.perf_counter(), 2 * planned.output_length + 64, seen)
    try:
        async with (
            asyncio.timeout(spec.timeout_s),
            session.post(spec.url + spec.route.path, data=data, headers=headers) as response,
        ):
            if response.status != 200:
                said = refusal(response.status, await response.content.read(_MOST_REFUSAL_BYTES))
                return _failed(reader, f"status-{response.status}", said)
            async for chunk in response.content.iter_any():
                reader.feed(chunk, time.perf_counter())
            reader.close(time.perf_counter())
    except TimeoutError:
        return _failed(reader, "timeout", f"there was no end within {spec.timeout_s:g} s")
    except BadAnswerError as error:
        return _failed(reader, error.kind, clean_line(str(error)))
    except ClientConnectorError as error:
        return _failed(reader, "connect", f"the server cannot be reached: {connect_problem(error)}")
    except (ClientError, OSError, ValueError) as error:
        return _failed(reader, "broken", clean_line(f"the connection broke ({error or type(error).__name__})"))
    return Outcome(reader, time.perf_counter())


def connect_problem(error: ClientConnectorError) -> str:
    """Returns why there is no connection, in the words of the system."""
    number = error.os_error.errno
    return os.strerror(number).lower() if number and number > 0 else clean_line(error.os_error.strerror or str(error))


def _failed(reader: AnswerReader, kind: str, text: str) -> Outcome:
    return Outcome(reader, time.perf_counter(), Failure(kind, text))
