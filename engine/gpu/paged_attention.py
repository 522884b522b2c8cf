"""Attention of single tokens over paged KV: what decode spends its time on, with Triton's kernels or with torch's own.

`PagedAttention` launches `decode_kernels`; where Triton is missing, `engine.gpu.executor` falls back to torch, token by
token. Knows pages and lengths, no requests.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..model.shape import ModelShape

__all__ = ["PagedAttention", "PagedRows", "why_no_triton"]

# A sequence is cut into at most SHARES shares of at least SHORTEST tokens: enough of them that one long sequence
# occupies a GPU, and so few that joining them stays cheap. Neither depends on the batch (see decode_kernels).
SHARES = 16
SHORTEST = 256
_NARROWEST = 16  # a side of a product that tl.dot takes


@dataclass(frozen=True, slots=True)
class PagedRows:
    """Where the rows of a batch look back, on the device.

    Attributes:
        table: [rows, pages] int32, the slot page of each page of the row's sequence; unused entries are any page.
        lengths: [rows] int32, tokens that the row looks back over, itself included.
    """

    table: Tensor
    lengths: Tensor


def why_no_triton() -> str:
    """Returns why Triton cannot be used, one clause; empty when it can."""
    try:
        importlib.import_module("triton")
    except ImportError as error:
        return f"the package triton cannot be imported ({error})"
    return ""


class PagedAttention:
    """The kernels, with the memory that their shares pass through.

    Args:
        page_size: tokens per page.
        most_rows: of a batch.

    Raises:
        ImportError: Triton is missing.
    """

    def __init__(self, shape: ModelShape, *, page_size: int, most_rows: int, device: torch.device) -> None:
        self._kernels: Any = importlib.import_module(".decode_kernels", __package__)
        self._shape = shape
        self._page_size = page_size
        places = (most_rows, shape.heads, SHARES)
        self._sums = torch.empty((*places, shape.head_dim), dtype=torch.float32, device=device)
        self._masses = torch.empty(places, dtype=torch.float32, device=device)

    def attend(self, q: Tensor, slots: Tensor, rows: PagedRows) -> Tensor:
        """Returns [rows, heads * dim] of queries [rows, heads, dim] over slots [K|V, kv_heads, places, dim]."""
        shape, count = self._shape, len(q)
        q = q.contiguous()
        out = torch.empty_like(q)
        columns = max(_NARROWEST, _power_of_two(shape.head_dim))
        group = shape.heads // shape.kv_heads
        # Half the tokens at a time where an element has four bytes: a block of K and one of V stay in fast memory.
        block = 64 if slots.element_size() <= 2 and columns <= 128 else 32
        common = {
            "HEADS": shape.heads,
            "DIM": shape.head_dim,
            "COLUMNS": columns,
            "BLOCK": block,
            "SHARES": SHARES,
            "SHORTEST": SHORTEST,
        }
        # No sequence is longer than the table is wide: further shares would be empty.
        shares = min(SHARES, -(-rows.table.shape[1] * self._page_size // SHORTEST))
        self._kernels.attend_share[(count, shape.kv_heads, shares)](
            q,
            slots[0],
            slots[1],
            rows.table,
            rows.lengths,
            self._sums,
            self._masses,
            math.log2(math.e) / math.sqrt(shape.head_dim),
            rows.table.stride(0),
            slots.stride(1),
            GROUP=group,
            ROWS=max(_NARROWEST, _power_of_two(group)),
            PAGE=self._page_size,
            WIDEN=self._kernels.is_interpreted(),
            **common,
        )
        self._kernels.join_shares[(count, shape.heads)](self._sums, self._masses, rows.lengths, out, **common)
        return out.view(count, -1)


def _power_of_two(number: int) -> int:
    """Returns the smallest power of two that is not below `number`."""
    return 1 << (number - 1).bit_length()
