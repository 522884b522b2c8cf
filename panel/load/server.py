"""What has to be known of a server before a load begins: its model, its vocabulary, how it tells the usage.

Asks a few small questions and judges the answers; everything that keeps a load from beginning is one sentence here,
instead of a thousand failed requests later. Called by `job` and `cli_load`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from aiohttp import ClientConnectorError, ClientError, ClientResponse, ClientSession

from ...engine.errors import ConfigError, PeerError
from ..runner.journal import clean_line
from .client import Outcome, ask, body_of, connect_problem, refusal
from .plan import Planned
from .prompt_file import read_prompts
from .prompts import FilePrompts, Prompt, Prompts, TokenPrompts, WordPrompts
from .spec import LoadSpec, Route
from .words import WORDS

__all__ = ["Served", "learn", "served_model"]

_ANSWER_S = 30.0
_MOST_BYTES = 4 << 20
_TRIAL_WORDS = 200
_TRIAL_TOKENS = 2
_OPTIONS: tuple[dict[str, bool], ...] = (
    {"include_usage": True, "continuous_usage_stats": True},
    {"include_usage": True},
    {},
)


@dataclass(frozen=True, slots=True)
class Served:
    """What a server offers.

    Attributes:
        model: as requests name it.
        prompts: what it is asked.
        options: what it understands as `stream_options`.
        ignores_eos: it takes `ignore_eos`.
    """

    model: str
    prompts: Prompts
    options: Mapping[str, bool]
    ignores_eos: bool


async def learn(session: ClientSession, spec: LoadSpec) -> Served:
    """Returns what the server offers.

    Raises:
        ConfigError: the model is not served, the prompts cannot be read, the server wants a key or refuses a trial.
        PeerError: no server answers, or what answers is none of these APIs.
    """
    model = await served_model(session, spec)
    options, ignores_eos = await _understood(session, spec, model)
    told = replace(spec, ignore_eos=ignores_eos)
    prompts = await _prompts(session, told, model, options)
    return Served(model, prompts, options, ignores_eos)


async def served_model(session: ClientSession, spec: LoadSpec) -> str:
    """Returns the model's name as the server has it; raises as `learn` does."""
    status, body = await _get(session, spec, "/v1/models")
    if status in (401, 403):
        problem = f"is refused by {spec.url} (status {status}: {refusal(status, body)})"
        raise ConfigError("api-key", "", problem, "give the server's key with --api-key")
    try:
        listed = [str(one["id"]) for one in msgspec.json.decode(body)["data"]] if status == 200 else []
    except (msgspec.MsgspecError, LookupError, TypeError):
        raise PeerError(
            f"{spec.url} answers, but not as an OpenAI-compatible server: /v1/models is {clean_line(repr(body[:80]))}."
        ) from None
    if spec.model and listed and spec.model not in listed:
        known = ", ".join(listed[:5])
        raise ConfigError("model", spec.model, f"is not served by {spec.url}", f"choose of: {known}")
    if not spec.model and not listed and spec.route is not Route.GENERATE:
        problem = f"is not told by {spec.url} (status {status} for /v1/models)"
        raise ConfigError("model", spec.model, problem, "give the model's name")
    return spec.model or (listed[0] if listed else "")


async def _understood(session: ClientSession, spec: LoadSpec, model: str) -> tuple[Mapping[str, bool], bool]:
    """Returns the stream options and whether `ignore_eos` is taken, by sending short requests until one is answered."""
    options: tuple[Mapping[str, bool], ...] = ({},) if spec.route is Route.GENERATE else _OPTIONS
    said = ""
    for ignore in (True, False) if spec.ignore_eos else (False,):
        for each in options:
            outcome = await _trial(session, replace(spec, ignore_eos=ignore), model, each, "Say hello.")
            failure = outcome.failure
            if failure is None or failure.kind == "empty":
                return each, ignore
            if failure.kind in ("status-400", "status-422"):
                said = failure.text
                continue
            if failure.kind in ("status-401", "status-403"):
                problem = f"is refused by {spec.url} ({failure.text})"
                raise ConfigError("api-key", "", problem, "give the server's key with --api-key")
            if failure.kind == "status-404":
                problem = f"is answered by {spec.url} with status 404 ({failure.text})"
                remedy = "choose the route that the server has, or another model"
                raise ConfigError("route", spec.route.path, problem, remedy)
            raise PeerError(f"A first short request to {spec.url}{spec.route.path} failed: {failure.text}.")
    raise ConfigError("url", spec.url, f"refuses a first short request: {said}", "change what it names")


async def _trial(session: ClientSession, spec: LoadSpec, model: str, options: Mapping[str, bool], text: str) -> Outcome:
    trial = replace(spec, timeout_s=min(spec.timeout_s, 4 * _ANSWER_S))
    body = body_of(trial, model, Prompt(text), _TRIAL_TOKENS, options)
    return await ask(session, trial, body, Planned(0, 0.0, 0, _TRIAL_TOKENS))


async def _prompts(session: ClientSession, spec: LoadSpec, model: str, options: Mapping[str, bool]) -> Prompts:
    if spec.prompts:
        found = await asyncio.to_thread(read_prompts, Path(spec.prompts))
        return FilePrompts(found, spec.seed, f"{len(found)} prompts of {spec.prompts}")
    if spec.route is not Route.CHAT:
        for find in (_tokenized, _vocabulary):
            if (ids := await find(session, spec, model)) is not None:
                found, source = ids
                return TokenPrompts(found, spec.seed, source)
    words = _TRIAL_WORDS
    text = " ".join(Random(f"{spec.seed}/trial").choices(WORDS, k=words))
    one = (await _trial(session, spec, model, options, WORDS[0])).reader.prompt_tokens
    many = (await _trial(session, spec, model, options, text)).reader.prompt_tokens
    if one is None or many is None or many <= one:
        return WordPrompts(spec.seed)
    per_word = (many - one) / (words - 1)
    return WordPrompts(spec.seed, per_word, max(0, round(one - per_word)))


async def _tokenized(session: ClientSession, spec: LoadSpec, model: str) -> tuple[list[int], str] | None:
    """Returns tokens of the model's own tokenizer, as SGLang's and vLLM's /tokenize gives them."""
    question = {"model": model, "prompt": " ".join(WORDS), "add_special_tokens": False}
    try:
        async with asyncio.timeout(_ANSWER_S), session.post(f"{spec.url}/tokenize", json=question) as response:
            value = msgspec.json.decode(await _bounded(response)) if response.status == 200 else None
    except (ClientError, OSError, msgspec.MsgspecError, TimeoutError):
        return None
    ids = value.get("tokens") if isinstance(value, dict) else None
    if not isinstance(ids, list) or len(ids) < 16 or not all(type(one) is int and one >= 0 for one in ids):
        return None
    return sorted(set(ids)), "random tokens, by the server's /tokenize"


async def _vocabulary(session: ClientSession, spec: LoadSpec, model: str) -> tuple[Any, str] | None:
    """Returns the middle of the vocabulary, where no model keeps its special tokens."""
    try:
        status, body = await _get(session, spec, "/model_info")
        value = msgspec.json.decode(body) if status == 200 else None
    except (PeerError, msgspec.MsgspecError):
        return None
    size = value.get("vocab_size") if isinstance(value, dict) else None
    if type(size) is not int or size < 1000:
        return None
    return range(size // 10, size * 9 // 10), "random tokens of the model's vocabulary"


async def _get(session: ClientSession, spec: LoadSpec, path: str) -> tuple[int, bytes]:
    try:
        async with asyncio.timeout(_ANSWER_S), session.get(spec.url + path) as response:
            return response.status, await _bounded(response)
    except TimeoutError:
        problem = f"nothing came within {_ANSWER_S:g} s"
    except ClientConnectorError as error:
        problem = connect_problem(error)
    except (ClientError, OSError, ValueError) as error:
        problem = clean_line(str(error) or type(error).__name__)
    raise PeerError(f"No server answers at {spec.url}: {problem}.")


async def _bounded(response: ClientResponse) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > _MOST_BYTES:
            raise ClientError(f"its answer has more than {_MOST_BYTES >> 20} MiB")
    return bytes(data)
