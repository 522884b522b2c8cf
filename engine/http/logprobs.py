"""Log probabilities in requests and answers: SGLang's fields of /generate, and OpenAI's of both its routes.

Reads what is asked for and writes what came; how the numbers are made, `engine.logprobs` says. SGLang's forms are
those of its tokenizer_manager.add_logprob_to_meta_info, OpenAI's those of its client's types.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import RequestError
from ..request import LogprobParams, TokenLogprobs
from ..text.tokenizer import Tokenizer
from .port import ModelCard
from .values import Reader

__all__ = [
    "RequestedLogprobs",
    "ScoredToken",
    "chat_logprobs",
    "completion_logprobs",
    "read_chat_logprobs",
    "read_completion_logprobs",
    "read_logprobs",
    "sglang_logprobs",
]

MOST_TOP = 20  # OpenAI's
_MOST_NAMED = 64
_NO_START = -1

ScoredToken = tuple[int, TokenLogprobs | None]
_Pairs = Iterable[tuple[float, int]]


@dataclass(frozen=True, slots=True)
class RequestedLogprobs:
    """What a request asks for, before its prompt is known.

    Attributes:
        params: `start` may be -1, for no prompt token.
    """

    params: LogprobParams

    def fit(self, prompt_tokens: int) -> LogprobParams:
        """Returns the parameters for a prompt of so many tokens.

        Raises:
            RequestError: `logprob_start_len` is behind its end.
        """
        start = self.params.start
        if start > prompt_tokens:
            problem = f"the prompt has {prompt_tokens} tokens"
            raise RequestError("logprob_start_len", start, problem, f"send at most {prompt_tokens}, or -1 for none")
        return replace(self.params, start=prompt_tokens if start == _NO_START else start)


def read_logprobs(body: Reader, model: ModelCard) -> RequestedLogprobs | None:
    """Returns what a /generate request asks for, None for nothing.

    Raises:
        RequestError: a field is malformed, or asks for more without `return_logprob`.
    """
    asked = body.boolean("return_logprob", False)
    top = body.whole("top_logprobs_num", 0, 0, MOST_TOP)
    named = body.token_ids("token_ids_logprob", model.vocab_size)
    start = body.whole("logprob_start_len", _NO_START, _NO_START, model.context_length)
    body.boolean("return_text_in_logprobs", False)  # what it is matters to the answer alone
    if not asked:
        # Clients send the start and sglang_router the text's switch whether they ask or not.
        for field, wanted in (("top_logprobs_num", top), ("token_ids_logprob", named)):
            if wanted:
                raise body.refuse(field, "return_logprob is not true", "leave it out or set return_logprob to true")
        return None
    if len(named) > _MOST_NAMED:
        raise body.refuse("token_ids_logprob", f"{len(named)} ids are too many", f"send at most {_MOST_NAMED}")
    if body.raw("replayed_ids"):
        problem = "the log probabilities of replayed tokens are not known here"
        raise body.refuse("return_logprob", problem, "leave it or replayed_ids out")
    return RequestedLogprobs(LogprobParams(top, named, start))


def read_completion_logprobs(body: Reader, model: ModelCard) -> RequestedLogprobs | None:
    """Returns what `logprobs` of a completion asks for: so many of the likeliest tokens.

    Raises:
        RequestError: it is no number in range, or `echo` asks for the prompt's as well.
    """
    top = body.whole("logprobs", None, 0, MOST_TOP)
    echo = body.boolean("echo", False)
    if top is None:
        return None
    if echo:
        problem = "the bundled engine does not implement it together with echo"
        raise body.refuse("logprobs", problem, "leave one of them out or ask /generate with logprob_start_len = 0")
    return RequestedLogprobs(LogprobParams(top, start=_NO_START))


def read_chat_logprobs(body: Reader, model: ModelCard) -> RequestedLogprobs | None:
    """Returns what `logprobs` and `top_logprobs` of a chat ask for.

    Raises:
        RequestError: one is malformed, or `top_logprobs` comes without `logprobs`.
    """
    asked = body.boolean("logprobs", False)
    top = body.whole("top_logprobs", 0, 0, MOST_TOP)
    if not asked and top:
        raise body.refuse("top_logprobs", "logprobs is not true", "leave it out or set logprobs to true")
    return RequestedLogprobs(LogprobParams(top, start=_NO_START)) if asked else None


def sglang_logprobs(
    tokenizer: Tokenizer | None,
    wanted: LogprobParams,
    prompt: Sequence[ScoredToken],
    output: Sequence[ScoredToken],
) -> dict[str, Any]:
    """Returns the fields of `meta_info`; each entry is [log probability, token id, text].

    Args:
        tokenizer: for the texts; None leaves them null.
        prompt: the prompt tokens asked for; the first of them has none.
    """

    def entry(logprob: float | None, token: int) -> list[Any]:
        return [logprob, token, None if tokenizer is None else tokenizer.token_text(token)]

    def entries(pairs: _Pairs) -> list[list[Any]] | None:
        return [entry(logprob, token) for logprob, token in pairs] or None

    fields: dict[str, Any] = {}
    for side, tokens in (("input", prompt), ("output", output)):
        fields[f"{side}_token_logprobs"] = [entry(own.logprob if own else None, token) for token, own in tokens]
        if wanted.top:
            fields[f"{side}_top_logprobs"] = [entries(own.top) if own else None for _, own in tokens]
        if wanted.token_ids:
            fields[f"{side}_token_ids_logprobs"] = [entries(own.named) if own else None for _, own in tokens]
    return fields


def chat_logprobs(tokenizer: Tokenizer, tokens: Sequence[ScoredToken]) -> dict[str, Any]:
    """Returns `choices[].logprobs` of a chat or of its chunk."""

    def entry(logprob: float, token: int) -> dict[str, Any]:
        raw = tokenizer.token_bytes(token)
        return {"token": raw.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(raw)}

    content = [
        {**entry(own.logprob, token), "top_logprobs": [entry(*pair) for pair in own.top]}
        for token, own in tokens
        if own is not None
    ]
    return {"content": content, "refusal": None}


def completion_logprobs(tokenizer: Tokenizer, tokens: Sequence[ScoredToken], offsets: Sequence[int]) -> dict[str, Any]:
    """Returns `choices[].logprobs` of a completion or of its chunk.

    Args:
        offsets: where in the text each token begins.
    """
    scored = [(token, own, at) for (token, own), at in zip(tokens, offsets, strict=True) if own is not None]
    best: list[dict[str, float]] = []
    for token, own, _ in scored:
        found: dict[str, float] = {}
        for logprob, other in (*own.top, (own.logprob, token)):
            found.setdefault(tokenizer.token_text(other), logprob)  # broken characters share a text: the likelier stays
        best.append(found)
    return {
        "tokens": [tokenizer.token_text(token) for token, _, _ in scored],
        "token_logprobs": [own.logprob for _, own, _ in scored],
        "top_logprobs": best,
        "text_offset": [at for _, _, at in scored],
    }
