"""Attention of one pass on a GPU: prompts with torch's flash attention, single tokens with the paged kernels.

A chunk of a prompt looks back over a zero-copy view of its sequence's slot, one call for each span; all single tokens
of the pass share one launch. flash-attn is used for prompts where it is installed. Made by the executor for each pass
that no CUDA graph serves.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right

from ..model.executor import TokenSpan
from ..model.shape import ModelShape
from .paged_attention import PagedAttention, PagedRows

__all__ = ["BatchAttention", "Flash", "find_flash"]

Flash = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Causal attention, aligned at the last token: ([tokens, heads, dim], [past, kv_heads, dim], the same) -> like q."""


def find_flash() -> Flash | None:
    """Returns flash-attn's function, its version for Hopper first; None where neither is installed."""
    for name in ("flash_attn_interface", "flash_attn"):
        try:
            call = importlib.import_module(name).flash_attn_func
        except (ImportError, AttributeError):
            continue

        def attend(q: Tensor, k: Tensor, v: Tensor, call: Callable[..., Tensor] = call) -> Tensor:
            return call(q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0), causal=True).squeeze(0)

        return attend
    return None


class BatchAttention:
    """Attention of the spans of one pass, in their order.

    Args:
        paged: the kernels for single tokens, with where these look back; None computes them like prompts.
        flash: what computes prompts; None is torch's own.
    """

    def __init__(
        self,
        shape: ModelShape,
        spans: Sequence[TokenSpan],
        paged: tuple[PagedAttention, PagedRows] | None,
        flash: Flash | None,
        device: torch.device,
    ) -> None:
        self._grouped = shape.heads != shape.kv_heads
        self._paged = paged
        self._flash = flash
        self._prompts: list[tuple[int, TokenSpan]] = []  # with the row of the first token
        single: list[int] = []
        row = 0
        for span in spans:
            if len(span.tokens) == 1 and paged is not None:
                single.append(row)
            else:
                self._prompts.append((row, span))
            row += len(span.tokens)
        self._all_single = len(single) == row
        self._single = torch.tensor(single, device=device) if single and not self._all_single else None

    def __call__(self, q: Tensor, slots: Tensor) -> Tensor:
        """Returns [tokens, heads * dim] of queries [tokens, heads, dim]; slots hold the KV of all tokens so far."""
        if self._paged is not None and self._all_single:
            paged, rows = self._paged
            return paged.attend(q, slots, rows)
        out = torch.empty_like(q, memory_format=torch.contiguous_format)
        if self._paged is not None and self._single is not None:
            paged, rows = self._paged
            found = paged.attend(q.index_select(0, self._single), slots, rows)
            out.index_copy_(0, self._single, found.view(-1, *q.shape[1:]))
        for row, span in self._prompts:
            past = slots[:, :, span.slot : span.slot + span.stop]  # [K|V, kv_heads, tokens so far, dim]
            out[row : row + len(span.tokens)] = self._prompt(q[row : row + len(span.tokens)], past)
        return out.flatten(1)

    def _prompt(self, q: Tensor, past: Tensor) -> Tensor:
        count, length = len(q), past.shape[2]
        rows = q.to(past.dtype)
        if self._flash is not None:
            return self._flash(rows, past[0].transpose(0, 1), past[1].transpose(0, 1)).to(q.dtype)
        rows = rows.transpose(0, 1).unsqueeze(0)  # [1, heads, tokens, dim]
        k, v = past[0].unsqueeze(0), past[1].unsqueeze(0)
        # The bias lets torch take its flash kernel also where a chunk looks back over earlier ones; a mask does not.
        bias = causal_lower_right(count, length) if 1 < count < length else None
        whole = count == length and count > 1
        result = F.scaled_dot_product_attention(rows, k, v, bias, is_causal=whole, enable_gqa=self._grouped)
        return result.squeeze(0).transpose(0, 1).to(q.dtype)
