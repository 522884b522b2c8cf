"""What a request is, from the HTTP layer to the step loop: plain frozen values.

Knows nothing of HTTP, torch or threads. Bodies are validated in `engine.http`; what arrives here is sound.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from .vision.request_image import RequestImage

__all__ = [
    "Bootstrap",
    "Finish",
    "FinishKind",
    "GenerateRequest",
    "LogprobParams",
    "SamplingParams",
    "Scores",
    "TokenEvent",
    "TokenLogprobs",
]


class FinishKind(Enum):
    """Why a request ended; the values are SGLang's `finish_reason.type`."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Finish:
    """The one end of a request.

    Attributes:
        kind: why it ended.
        matched: the stop token id or stop string that ended it.
        message: for an abort, one sentence.
        http_status: for an abort, the status that a non-streaming response takes.
    """

    kind: FinishKind
    matched: int | str | None = None
    message: str = ""
    http_status: int = 200


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How tokens are chosen and when to stop; names and defaults are SGLang's.

    Attributes:
        max_new_tokens: tokens to generate at most; None means up to the context length.
        min_new_tokens: no stop token ends the output before this many tokens.
        temperature: 0 is greedy.
        top_k: -1 keeps the whole vocabulary.
        seed: sampling is keyed by (seed, position); None lets the worker draw one.
        stop: strings that end the output (matched on text by the HTTP layer).
        stop_token_ids: ids that end the output, beside the model's own.
    """

    max_new_tokens: int | None = 128
    min_new_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    min_p: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    no_stop_trim: bool = False

    @property
    def greedy(self) -> bool:
        """True when the most likely token is always taken."""
        return self.temperature == 0 or self.top_k == 1


@dataclass(frozen=True, slots=True)
class LogprobParams:
    """Which log probabilities a request asks for, beside that of each output token.

    Attributes:
        top: so many of the likeliest tokens per position.
        token_ids: these tokens at each position.
        start: prompt tokens from this place on; the prompt's length for none.
    """

    top: int = 0
    token_ids: tuple[int, ...] = ()
    start: int = 0


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """The log probabilities at one position.

    Attributes:
        logprob: of the token that stands there.
        top: (log probability, token id) of the likeliest, falling.
        named: the same of `LogprobParams.token_ids`.
    """

    logprob: float
    top: tuple[tuple[float, int], ...] = ()
    named: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Scores:
    """The log probabilities that come with tokens.

    Attributes:
        tokens: of the tokens.
        prompt: of the prompt tokens behind `LogprobParams.start`, with the first output token of a worker that
            computed the prompt.
    """

    tokens: tuple[TokenLogprobs, ...]
    prompt: tuple[TokenLogprobs, ...] = ()


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Where the two halves of a disaggregated request meet (SGLang's bootstrap_host, _port and _room)."""

    host: str
    port: int
    room: int


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One accepted request.

    Attributes:
        rid: the client's or a generated id.
        prompt_ids: the prompt's token ids, at least one.
        bootstrap: set on prefill and decode workers, None on unified ones.
        attempt: the router's name for this try, empty without one.
        replayed_ids: output tokens that the client has already, from an earlier try; they are computed like the
            prompt and not emitted again.
        deadline_s: seconds from its acceptance after which it is given up; None for no such limit.
        logprobs: set when log probabilities are asked for.
        images: of the prompt, whose ids stand for their embeddings.
    """

    rid: str
    prompt_ids: tuple[int, ...]
    sampling: SamplingParams = field(default_factory=SamplingParams)
    bootstrap: Bootstrap | None = None
    attempt: str = ""
    replayed_ids: tuple[int, ...] = ()
    deadline_s: float | None = None
    logprobs: LogprobParams | None = None
    images: tuple[RequestImage, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """What one step produced for one request: zero or one token, and at the end the finish.

    Attributes:
        token_ids: the new tokens; empty only together with `finish`. A stop token is included.
        finish: set on the last event of the request, None before.
        cached_tokens: prompt tokens that were not computed because their KV was cached.
        scores: their log probabilities, when the request asks for them.
    """

    rid: str
    token_ids: tuple[int, ...]
    finish: Finish | None = None
    cached_tokens: int = 0
    scores: Scores | None = None
