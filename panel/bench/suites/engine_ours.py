"""The bundled engine as a contender: the executor and KV memory that a unified worker has, without HTTP and scheduling.

A step is `Executor.forward` and the likeliest token of each row, as the peers' loops do it. Prompts go in the chunks of
`--chunked-prefill-size`.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ....engine.config import ServerConfig, read_environment
from ....engine.execution import AUTO_KV_DTYPE, DTYPES, open_cpu_executor
from ....engine.kv import KVCache
from ....engine.model.executor import Executor, TokenSpan
from ....engine.model.llama import Llama
from ....engine.model.store import ResolvedModel, resolve_model
from .engine_cases import prompt_of
from .engine_contender import Setup

__all__ = ["Ours", "Sequences", "default_executor", "exact_executor", "model_of", "step_bytes"]

_WARM_STEPS = 2
_PAGE = 16
_CHUNK = ServerConfig("").chunked_prefill_size


def model_of(setup: Setup) -> ResolvedModel:
    """Returns the model, which is there already."""
    return resolve_model(setup.model, replace(read_environment(), cache_dir=Path(setup.cache_dir)))


def exact_executor(setup: Setup, model: ResolvedModel, tokens: int) -> tuple[Executor, KVCache]:
    """Returns float32 throughout, with KV memory for so many tokens."""
    config = ServerConfig(setup.model, quantization="none", kv_cache_dtype="float32", threads=setup.threads)
    return _opened(config, setup, model, tokens)


def default_executor(setup: Setup, model: ResolvedModel, tokens: int) -> tuple[Executor, KVCache]:
    """Returns what a worker computes on that is given no flags, with KV memory for so many tokens."""
    return _opened(ServerConfig(setup.model, kv_cache_dtype=AUTO_KV_DTYPE, threads=setup.threads), setup, model, tokens)


def _opened(config: ServerConfig, setup: Setup, model: ResolvedModel, tokens: int) -> tuple[Executor, KVCache]:
    executor = open_cpu_executor(config, model.shape, model.directory, tokens, Path(setup.cache_dir))
    dtype = DTYPES[config.kv_cache_dtype]
    return executor, KVCache(model.shape, pages=-(-tokens // _PAGE), page_size=_PAGE, dtype=dtype, staging=False)


def step_bytes(executor: Executor) -> int:
    """Returns the bytes of weights that a step of one token reads: everything but the rows of the embedding."""
    if not isinstance(executor, Llama):
        return executor.weight_bytes  # type: ignore[attr-defined]
    weights = executor.weights
    tensors = [weights.norm, weights.lm_head]
    for layer in weights.layers:
        tensors += [value for name in layer.__slots__ if isinstance(value := getattr(layer, name), torch.Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class Sequences:
    """The rows of a case in KV memory, each with the same context, ready for steps from there again and again.

    Args:
        room: places of each row.
    """

    def __init__(self, executor: Executor, kv: KVCache, prompt: list[int], batch: int, room: int) -> None:
        self._executor, self._kv = executor, kv
        self._context, self._places = len(prompt), [row * room for row in range(batch)]
        self._token = prefill(executor, kv, prompt, 0)
        for place in self._places[1:]:
            kv.slots[:, :, :, place : place + len(prompt)] = kv.slots[:, :, :, : len(prompt)]

    def step(self, tokens: list[int], number: int) -> list[int]:
        """Computes step `number` after the context; returns the next token of each row."""
        start = self._context + number
        spans = [
            TokenSpan((token,), start, place, logits=True) for token, place in zip(tokens, self._places, strict=True)
        ]
        return self._executor.forward(spans, self._kv).argmax(-1).tolist()

    def run(self, steps: int) -> float:
        """Returns the seconds of a step."""
        tokens = [self._token] * len(self._places)
        for number in range(_WARM_STEPS):
            tokens = self.step(tokens, number)
        began = time.perf_counter()
        for number in range(_WARM_STEPS, _WARM_STEPS + steps):
            tokens = self.step(tokens, number)
        return (time.perf_counter() - began) / steps


def prefill(executor: Executor, kv: KVCache, prompt: list[int], place: int) -> int:
    """Computes a prompt chunk by chunk; returns its first token."""
    logits = torch.empty(0)
    for start in range(0, len(prompt), _CHUNK):
        chunk = prompt[start : start + _CHUNK]
        is_last = start + len(chunk) == len(prompt)
        logits = executor.forward([TokenSpan(chunk, start, place, logits=is_last)], kv)
    return int(logits.argmax(-1))


class Ours:
    """The bundled engine with `setup.threads` threads."""

    def __init__(self, setup: Setup) -> None:
        torch.set_num_threads(setup.threads)
        torch.set_grad_enabled(False)
        self._setup = setup
        self._model = model_of(setup)
        self._executor, self._kv = default_executor(setup, self._model, setup.longest + 64)
        self._batches: dict[tuple[int, int], Sequences] = {}

    def about(self) -> dict[str, Any]:
        """Returns the path that it computes on, and the bytes of weights that a step reads."""
        info = self._executor.info
        return {
            "executor": info.executor,
            "weights": info.weights,
            "decode": info.decode,
            "attention": info.attention,
            "reason": info.reason,
            "step_bytes": step_bytes(self._executor),
            "kv_dtype": str(self._kv.dtype).removeprefix("torch."),
        }

    def prefill(self, prompt: int) -> float:
        """See `engine_worker.Program`."""
        ids = prompt_of(prompt, self._model.shape.vocab, self._setup.seed)
        began = time.perf_counter()
        prefill(self._executor, self._kv, ids, 0)
        return time.perf_counter() - began

    def decode(self, batch: int, context: int, steps: int) -> float:
        """See `engine_worker.Program`."""
        key = (batch, context)
        if key not in self._batches:
            room = -(-(context + steps + _WARM_STEPS) // _PAGE)
            shape, dtype = self._model.shape, self._kv.dtype
            kv = KVCache(shape, pages=batch * room, page_size=_PAGE, dtype=dtype, staging=False)
            ids = prompt_of(context, shape.vocab, self._setup.seed)
            self._batches[key] = Sequences(self._executor, kv, ids, batch, room * _PAGE)
        return self._batches[key].run(steps)
