"""What a model takes on the GPUs of one worker, and how many tokens and requests fit beside its weights. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from ...engine.errors import ConfigError
from .facts import ModelFacts
from .figure import Figure, amount
from .kv import kv_bytes_per_token, sequence_kv_bytes
from .parallelism import Parallelism
from .precision import Precision
from .weights import weights_bytes

__all__ = ["Budget", "Memory", "activation_reserve", "memory_of", "requests_that_fit", "tokens_that_fit"]

_CHUNK = 8192


@dataclass(frozen=True, slots=True)
class Budget:
    """What one GPU offers, and how weights and KV are stored in it.

    Attributes:
        gpu_bytes: memory of the GPU.
        fraction: share that the engine may take (`--mem-fraction-static`, `--gpu-memory-utilization`).
        reserve_bytes: left for activations; `activation_reserve` when None.
        kv_dtype: of the KV cache.
        precision: of the weights; as the model's file says when None.
    """

    gpu_bytes: float
    fraction: float = 0.9
    reserve_bytes: float | None = None
    kv_dtype: str = "bf16"
    precision: Precision | None = None

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ConfigError("--mem-fraction", self.fraction, "is not between 0 and 1", "use a share such as 0.9")


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of one worker.

    Attributes:
        weights: bytes of all weights.
        weights_per_gpu: bytes on the fullest GPU.
        kv_per_token: bytes of one token in all, without copies.
        kv_per_token_per_gpu: bytes of one token on a GPU that holds it.
        reserve: bytes left for activations on each GPU.
        tokens: that fit.
        requests: of the given length that fit; at least 0.
    """

    weights: Figure
    weights_per_gpu: Figure
    kv_per_token: Figure
    kv_per_token_per_gpu: Figure
    reserve: Figure
    tokens: Figure
    requests: Figure


def activation_reserve(facts: ModelFacts, parallel: Parallelism, chunk: int = _CHUNK) -> Figure:
    """Returns the bytes kept free for the activations of one prefill chunk on each GPU."""
    widest = max((group.dense_parameters + group.experts_active * group.expert_parameters) for group in facts.layers)
    inner = ceil(widest / facts.hidden / parallel.tp)
    value = chunk * (4 * facts.hidden + inner) * 2
    formula = f"{amount(chunk)} tokens x (4 x {facts.hidden} + {amount(inner)} feed-forward numbers) x 2 B"
    assumes = ("One prefill chunk at a time; CUDA graphs and buffers lie outside the fraction.",)
    return Figure(value, "B", formula, assumes)


def tokens_that_fit(
    facts: ModelFacts, budget: Budget, parallel: Parallelism | None = None, length: int | None = None
) -> Figure:
    """Returns the tokens whose KV fits beside the weights of one worker.

    Args:
        facts: the model.
        budget: what a GPU offers.
        parallel: how the worker is spread; one GPU when None.
        length: of a sequence; it matters for windows and fixed states. None counts every layer as growing.
    """
    parallel = parallel or Parallelism()
    free, terms, assumes = _free(facts, budget, parallel)
    if length is None:
        each = kv_bytes_per_token(facts, budget.kv_dtype, parallel)[1].value
    else:
        each = sequence_kv_bytes(facts, length, budget.kv_dtype, parallel)[1] / length
        assumes = (*assumes, f"Sequences of {amount(length)} tokens.")
    formula = f"({terms}) / {amount(each)} B of a token on a GPU"
    if parallel.attention_dp > 1:
        formula += f" x {parallel.attention_dp} copies of the attention"
    return Figure(max(0, int(free / each)) * parallel.attention_dp, "tokens", formula, assumes)


def requests_that_fit(facts: ModelFacts, budget: Budget, length: int, parallel: Parallelism | None = None) -> Figure:
    """Returns the requests of `length` tokens, prompt and output together, that one worker holds at a time.

    Raises:
        ConfigError: the length makes no sense.
    """
    if length < 1:
        raise ConfigError("length", length, "is less than 1", "give the tokens of prompt and output together")
    parallel = parallel or Parallelism()
    free, terms, assumes = _free(facts, budget, parallel)
    each = sequence_kv_bytes(facts, length, budget.kv_dtype, parallel)[1]
    formula = f"({terms}) / {amount(round(each))} B of {amount(length)} tokens on a GPU, rounded down"
    if parallel.attention_dp > 1:
        formula += f", x {parallel.attention_dp} copies of the attention"
    return Figure(max(0, int(free / each)) * parallel.attention_dp, "requests", formula, assumes)


def _free(facts: ModelFacts, budget: Budget, parallel: Parallelism) -> tuple[float, str, tuple[str, ...]]:
    weights = weights_bytes(facts, parallel, budget.precision)[1]
    reserve = budget.reserve_bytes
    reserve = activation_reserve(facts, parallel).value if reserve is None else reserve
    free = budget.gpu_bytes * budget.fraction - weights.value - reserve
    terms = f"{amount(budget.gpu_bytes)} B x {budget.fraction:g} - {amount(weights.value)} B weights"
    return free, f"{terms} - {amount(reserve)} B reserve", weights.assumes


def memory_of(facts: ModelFacts, budget: Budget, length: int, parallel: Parallelism | None = None) -> Memory:
    """Returns all memory figures of one worker whose requests are `length` tokens long.

    Raises:
        ConfigError: the length makes no sense, or the KV dtype is unknown.
    """
    parallel = parallel or Parallelism()
    reserve = activation_reserve(facts, parallel)
    if budget.reserve_bytes is not None:
        reserve = Figure(budget.reserve_bytes, "B", "as given")
    requests = requests_that_fit(facts, budget, length, parallel)
    tokens = tokens_that_fit(facts, budget, parallel, length)
    weights = weights_bytes(facts, parallel, budget.precision)
    kv = kv_bytes_per_token(facts, budget.kv_dtype, parallel)
    return Memory(*weights, *kv, reserve, tokens, requests)
