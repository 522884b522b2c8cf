"""Where each millisecond of one decode step and of one prompt chunk goes.

`parts_of` is the place to teach an executor's own timings. The native one tells the shares of its kinds of operation in
the layers; of any other torch's profiler says which operations took the time of the thread that called it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from ....engine.kv import KVCache
from ....engine.model.executor import Executor, TokenSpan
from .engine_cases import prompt_of
from .engine_contender import Setup
from .engine_ours import default_executor, model_of, prefill, step_bytes

__all__ = ["Profile", "parts_of"]

_REPEATS = 3
# By operation, as torch names it; what is in none is `elementwise`.
_PARTS: Mapping[str, Sequence[str]] = {
    "linear layers": ("addmm", "mm", "linear", "bmm", "matmul"),
    "attention": ("scaled_dot_product", "flash_attention"),
    "norms": ("rms_norm", "rsqrt", "mean", "pow"),
    "copies": ("copy_", "cat", "index_copy", "stack", "clone", "contiguous", "_to_copy", "index", "embedding", "pad"),
}


class Profile:
    """The bundled engine in its default mode."""

    def __init__(self, setup: Setup) -> None:
        torch.set_num_threads(setup.threads)
        torch.set_grad_enabled(False)
        self._setup = setup
        self._model = model_of(setup)
        self._executor, self._kv = default_executor(setup, self._model, setup.longest + 64)

    def about(self) -> dict[str, Any]:
        """Returns the path that it computes on."""
        info = self._executor.info
        return {"executor": info.executor, "weights": info.weights, "step_bytes": step_bytes(self._executor)}

    def decode(self, context: int) -> dict[str, float]:
        """Returns milliseconds by part of a step of one sequence with so many tokens; the parts sum up to `whole`."""
        ids = prompt_of(context, self._model.shape.vocab, self._setup.seed)
        token = prefill(self._executor, self._kv, ids, 0)
        return _profiled(self._executor, self._kv, [TokenSpan((token,), context, 0, logits=True)])

    def chunk(self, tokens: int) -> dict[str, float]:
        """Returns the same of a prompt's first chunk."""
        ids = prompt_of(tokens, self._model.shape.vocab, self._setup.seed)
        return _profiled(self._executor, self._kv, [TokenSpan(ids, 0, 0, logits=True)])

    def operations(self, tokens: int) -> float:
        """Returns the floating point operations of the linear layers in a chunk of so many tokens, logits of one."""
        shape = self._model.shape
        layer = shape.hidden * (shape.q_rows + 2 * shape.kv_rows + shape.q_rows + 3 * shape.ffn)
        return 2.0 * (tokens * shape.layers * layer + shape.hidden * shape.vocab)


def _profiled(executor: Executor, kv: KVCache, spans: Sequence[TokenSpan]) -> dict[str, float]:
    whole = _milliseconds(executor, kv, spans)
    parts = parts_of(executor, kv, spans, whole)
    # A profiler slows what it watches down: the shares are its, the sum is that of unwatched passes.
    stretch = min(1.0, whole / sum(parts.values()))
    shown = {part: taken * stretch for part, taken in parts.items()}
    return {**shown, "between operations": max(0.0, whole - sum(shown.values())), "whole": whole}


def _milliseconds(executor: Executor, kv: KVCache, spans: Sequence[TokenSpan]) -> float:
    """Returns what a forward pass takes, the median of several after one that does not count."""
    taken: list[float] = []
    for _ in range(_REPEATS + 1):
        began = time.perf_counter()
        executor.forward(spans, kv)
        taken.append(1e3 * (time.perf_counter() - began))
    return statistics.median(taken[1:])


def parts_of(executor: Executor, kv: KVCache, spans: Sequence[TokenSpan], whole: float) -> dict[str, float]:
    """Returns the milliseconds of one forward pass by part, those with nothing left out; `whole` is what all take."""
    own = getattr(executor, "profile", None)
    if own is None:
        return _watched(executor, kv, spans)
    # It tells of the layers; the logits are what a pass takes longer that wants them.
    layers = _milliseconds(executor, kv, [replace(span, logits=False) for span in spans])
    shares = [own(spans, kv) for _ in range(_REPEATS)]
    parts = {part: layers * statistics.median(share[part] for share in shares) for part in shares[0]}
    return {part: taken for part, taken in {**parts, "logits": max(0.0, whole - layers)}.items() if taken}


def _watched(executor: Executor, kv: KVCache, spans: Sequence[TokenSpan]) -> dict[str, float]:
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(_REPEATS):
            executor.forward(spans, kv)
    found: dict[str, float] = {}
    for event in seen.key_averages():
        if event.key.startswith("aten::"):
            part = _part_of(event.key.removeprefix("aten::"))
            found[part] = found.get(part, 0.0) + event.self_cpu_time_total / 1e3 / _REPEATS
    return {part: taken for part, taken in found.items() if taken}


def _part_of(operation: str) -> str:
    for part, names in _PARTS.items():
        if any(operation == name or (len(name) > 5 and name in operation) for name in names):
            return part
    return "elementwise"
