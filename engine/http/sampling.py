"""`SamplingParams` from SGLang's `sampling_params` object and from the fields of OpenAI requests.

Checks types and ranges, and that prompt and output fit the context together. Called by the routes; knows
nothing of HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..errors import RequestError
from ..request import SamplingParams
from .fields import SAMPLING
from .port import ModelCard
from .values import Reader

__all__ = ["MAX_COPIES", "RequestedSampling", "read_openai_sampling", "read_sampling", "read_sampling_object"]

MAX_COPIES = 128  # OpenAI's
_MAX_STOPS = 64
_MAX_STOP_CHARACTERS = 1024
_MAX_TEMPERATURE = 100
_SGLANG_OUTPUT_TOKENS = 128
_OPENAI_OUTPUT_TOKENS = 16


@dataclass(frozen=True, slots=True)
class RequestedSampling:
    """What a request asks for, before its prompt is known.

    Attributes:
        params: with the limit that was sent, or the API's default; None means up to the context length.
        limit_field: the name of the limit in this request.
        limit_sent: False for a default, which gives way to a long prompt.
        least_field: the name of the least number of tokens.
        copies: answers per prompt.
    """

    params: SamplingParams
    limit_field: str
    limit_sent: bool
    least_field: str
    copies: int

    def for_copy(self, copy: int) -> RequestedSampling:
        """Returns what the answer number `copy` (from 0 on) is drawn with: a given seed plus that number."""
        seed = self.params.seed
        return self if seed is None or not copy else replace(self, params=replace(self.params, seed=seed + copy))

    def fit(self, prompt_tokens: int, model: ModelCard, prompt_field: str) -> SamplingParams:
        """Returns the parameters with a limit that fits the context behind the prompt.

        Raises:
            RequestError: the prompt is empty or too long, or it and the numbers asked for do not fit
                together.
        """
        context = model.context_length
        if prompt_tokens == 0:
            raise RequestError(prompt_field, "", "the prompt has no tokens", "send at least one token")
        room = context - prompt_tokens
        if room < 1:
            raise RequestError(
                prompt_field,
                f"{prompt_tokens} tokens",
                f"the prompt is too long for the context of {context} tokens, one of which is for the output",
                f"send at most {context - 1} tokens",
            )
        problem = f"with the prompt's {prompt_tokens} tokens it exceeds the context of {context} tokens"
        limit, least = self.params.max_new_tokens, self.params.min_new_tokens
        if limit is not None and limit > room and self.limit_sent:
            raise RequestError(self.limit_field, limit, problem, f"send at most {room}")
        if least > room:
            raise RequestError(self.least_field, least, problem, f"send at most {room}")
        return replace(self.params, max_new_tokens=room if limit is None else min(limit, room))


def read_sampling(body: Reader, model: ModelCard, prompts: int) -> tuple[RequestedSampling, ...]:
    """Returns what the `sampling_params` of a /generate request ask for, per prompt: one object for all, or a list.

    Raises:
        RequestError: a field is unknown, not implemented, of the wrong type or out of range, or a list has not one
            object per prompt with the same `n` in all.
    """
    given = body.raw("sampling_params")
    if not isinstance(given, list):
        fields = body.object("sampling_params")
        SAMPLING.check(fields, "sampling_params")
        return (read_sampling_object(Reader(fields, "sampling_params"), model),) * prompts
    if len(given) != prompts:
        problem = f"a list of {len(given)} for {prompts} prompts"
        raise body.refuse("sampling_params", problem, "send one object for all, or one per prompt")
    places = [(f"sampling_params[{index}]", fields) for index, fields in enumerate(given)]
    for place, fields in places:
        if not isinstance(fields, dict):
            raise RequestError(place, fields, "not a JSON object", "send an object")
        SAMPLING.check(fields, place)
    found = tuple(read_sampling_object(Reader(fields, place), model) for place, fields in places)
    for (place, _), one in zip(places, found, strict=True):
        if one.copies != found[0].copies:
            remedy = f"set it to {found[0].copies}, as for the first prompt"
            raise RequestError(f"{place}.n", one.copies, "all prompts get equally many answers", remedy)
    return found


def read_sampling_object(reader: Reader, model: ModelCard) -> RequestedSampling:
    """Returns what one object of `sampling_params`, whose fields all exist, asks for.

    Raises:
        RequestError: a field is of the wrong type or out of range.
    """
    # SGLang takes an absent limit for 128 and a null one for none.
    default = None if reader.given("max_new_tokens") else _SGLANG_OUTPUT_TOKENS
    return _read(reader, model, default, "max_new_tokens", "min_new_tokens")


def read_openai_sampling(body: Reader, model: ModelCard, prompts: int, *, chat: bool) -> tuple[RequestedSampling, ...]:
    """Returns what the sampling fields of an OpenAI request ask for.

    Without a limit a chat goes on up to the context length and a completion for 16 tokens, as in OpenAI's
    API.

    Raises:
        RequestError: a field is of the wrong type or out of range.
    """
    field = body.first("max_completion_tokens", "max_tokens") if chat else "max_tokens"
    return (_read(body, model, None if chat else _OPENAI_OUTPUT_TOKENS, field, "min_tokens"),) * prompts


def _read(
    reader: Reader, model: ModelCard, default: int | None, limit_field: str, least_field: str
) -> RequestedSampling:
    # One place of the context belongs to the prompt, which is never empty.
    most = model.context_length - 1
    limit = reader.whole(limit_field, default, 1, most)
    least = reader.whole(least_field, 0, 0, most)
    if limit is not None and least > limit:
        problem = f"more than {reader.name(limit_field)} = {limit}"
        raise reader.refuse(least_field, problem, f"send at most {limit}")
    top_k = reader.whole("top_k", -1, -1, 2**31 - 1)
    seed = reader.first("seed", "sampling_seed")
    keep_stop = reader.first("include_stop_str_in_output", "no_stop_trim")
    params = SamplingParams(
        max_new_tokens=limit,
        min_new_tokens=least,
        temperature=reader.number("temperature", 1.0, 0, _MAX_TEMPERATURE),
        top_p=reader.number("top_p", 1.0, 0, 1, above=True),
        top_k=-1 if top_k == 0 else top_k,  # vLLM writes "all" as 0
        min_p=reader.number("min_p", 0.0, 0, 1),
        seed=reader.whole(seed, None, -(2**63), 2**63 - 1),
        stop=reader.strings("stop", most=_MAX_STOPS, longest=_MAX_STOP_CHARACTERS),
        stop_token_ids=reader.token_ids("stop_token_ids", model.vocab_size),
        ignore_eos=reader.boolean("ignore_eos", False),
        skip_special_tokens=reader.boolean("skip_special_tokens", True),
        no_stop_trim=reader.boolean(keep_stop, False),
    )
    return RequestedSampling(
        params,
        reader.name(limit_field),
        reader.has(limit_field),
        reader.name(least_field),
        copies=reader.whole("n", 1, 1, MAX_COPIES),
    )
