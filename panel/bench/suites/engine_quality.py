"""What quantising costs: the default mode against float32 on a fixed text, each token given the true ones before it.

The default mode computes the text token by token, as decode does, and a second time in chunks, as prefill does, since
the two may read other weights and round activations otherwise. Exact is float32 weights, activations and KV.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....engine.kv import KVCache
from ....engine.model.executor import Executor, TokenSpan
from ....engine.text.tokenizer import Tokenizer
from .engine_contender import Setup
from .engine_ours import default_executor, exact_executor, model_of

__all__ = ["Quality", "divergence"]

_CHUNK = 128


def divergence(exact: Tensor, other: Tensor) -> tuple[float, float]:
    """Returns how often the likeliest token is the same, and the mean KL in nats, of logits [rows, vocab]."""
    same, kl = 0, 0.0
    for sure, found in zip(exact.split(_CHUNK), other.split(_CHUNK), strict=True):  # doubles of all rows are gigabytes
        same += int((sure.argmax(-1) == found.argmax(-1)).sum())
        sure, found = sure.double().log_softmax(-1), found.double().log_softmax(-1)
        kl += float((sure.exp() * (sure - found)).sum())
    return same / len(exact), kl / len(exact)


class Quality:
    """Both executors on one text."""

    def __init__(self, setup: Setup) -> None:
        torch.set_num_threads(setup.threads)
        torch.set_grad_enabled(False)
        self._setup = setup
        self._model = model_of(setup)
        text = Path(__file__).with_name("engine_text.txt").read_text(encoding="utf-8")
        self._ids = Tokenizer.load(self._model.tokenizer_json, None).encode(text)

    def about(self) -> dict[str, Any]:
        """Returns how many tokens the text has."""
        return {"tokens": len(self._ids)}

    def compare(self, tokens: int) -> dict[str, dict[str, float]]:
        """Returns top-1 agreement and KL on the first `tokens` tokens, by the path that computed them."""
        ids = self._ids[:tokens]
        exact = torch.cat(list(_chunks(*exact_executor(self._setup, self._model, len(ids) + 16), ids)))
        executor, kv = default_executor(self._setup, self._model, len(ids) + 16)
        found = {"decode": list(_steps(executor, kv, ids)), "prefill": list(_chunks(executor, kv, ids))}
        answer = {}
        for path, parts in found.items():
            top1, kl = divergence(exact, torch.cat(parts))
            answer[path] = {"tokens": len(ids), "top1_agreement": top1, "kl": kl}
        return answer


def _chunks(executor: Executor, kv: KVCache, ids: list[int]) -> Iterator[Tensor]:
    """Yields the logits of every token, [tokens of a chunk, vocab]."""
    for start in range(0, len(ids), _CHUNK):
        states: list[Tensor] = []
        executor.forward([TokenSpan(ids[start : start + _CHUNK], start, 0, logits=False)], kv, states.append)
        yield executor.logits(states[0])


def _steps(executor: Executor, kv: KVCache, ids: list[int]) -> Iterator[Tensor]:
    """Yields the logits of every token, [1, vocab], computed one by one."""
    for start, token in enumerate(ids):
        yield executor.forward([TokenSpan((token,), start, 0, logits=True)], kv).clone()
