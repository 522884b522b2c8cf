"""Triton kernels of decode's attention over paged KV. The only file that imports triton, itself imported on use.

One program reads one share of one sequence's KV for one KV head: the query heads of its group are the rows of the
products. The shares of a sequence are then joined. How a sequence is cut into shares follows from its length alone, so
its result has the same bits whatever else is in the batch. The same code compiles for NVIDIA and AMD, and runs on a CPU
in Triton's interpreter (TRITON_INTERPRET=1).
"""
# Triton compiles these functions from their source: annotations other than constexpr would only mislead.
# pyright: basic

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from triton import knobs  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]

__all__ = ["attend_share", "is_interpreted", "join_shares"]


def is_interpreted() -> bool:
    """Returns whether the kernels run in Triton's interpreter."""
    return knobs.runtime.interpret


@triton.jit
def _product(a, b, WIDEN: tl.constexpr):
    """The product of two blocks, summed in float32.

    WIDEN multiplies in float32 what was rounded before, with the same result: the interpreter takes the bits of
    bfloat16 for whole numbers.
    """
    if WIDEN:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def attend_share(
    q,  # [rows, KV heads * GROUP, DIM]
    k,  # [KV heads, places, DIM]
    v,  # like k
    table,  # [rows, pages] int32: the slot page of each page of the sequence
    lengths,  # [rows] int32: tokens that the row looks back over, itself included
    sums,  # [rows, heads, SHARES, DIM] float32, out: the attention of the share
    masses,  # [rows, heads, SHARES] float32, out: log2 of the share's weight
    scale,  # of the scores, times log2(e)
    table_row,
    head_step,  # elements from one KV head to the next
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,  # GROUP, padded to what tl.dot takes
    DIM: tl.constexpr,
    COLUMNS: tl.constexpr,  # DIM, padded to a power of two
    PAGE: tl.constexpr,
    BLOCK: tl.constexpr,
    SHARES: tl.constexpr,
    SHORTEST: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """Attention of one row and KV head over one share of the sequence."""
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1).to(tl.int64)
    share = tl.program_id(2)
    length = tl.load(lengths + row)
    step = tl.maximum(tl.cdiv(tl.cdiv(length, SHARES), BLOCK) * BLOCK, SHORTEST)
    start = share * step
    if start >= length:
        return
    stop = tl.minimum(start + step, length)

    members = tl.arange(0, ROWS)
    columns = tl.arange(0, COLUMNS)
    inside = (members[:, None] < GROUP) & (columns[None, :] < DIM)
    first = row * HEADS + head * GROUP
    queries = tl.load(q + (first + members[:, None]) * DIM + columns[None, :], mask=inside, other=0.0)
    queries = queries.to(k.dtype.element_ty)

    top = tl.full((ROWS,), float("-inf"), tl.float32)
    mass = tl.zeros((ROWS,), tl.float32)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for at in range(start, stop, BLOCK):
        tokens = at + tl.arange(0, BLOCK)
        known = tokens < stop
        pages = tl.load(table + row * table_row + tokens // PAGE, mask=known, other=0).to(tl.int64)
        places = head * head_step + (pages * PAGE + tokens % PAGE) * DIM
        shown = known[None, :] & (columns[:, None] < DIM)
        keys = tl.load(k + places[None, :] + columns[:, None], mask=shown, other=0.0)  # [COLUMNS, BLOCK]
        scores = _product(queries, keys, WIDEN) * scale
        scores = tl.where(known[None, :], scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1))
        fade = tl.exp2(top - higher)
        weights = tl.exp2(scores - higher[:, None])
        mass = mass * fade + tl.sum(weights, 1)
        shown = known[:, None] & (columns[None, :] < DIM)
        values = tl.load(v + places[:, None] + columns[None, :], mask=shown, other=0.0)  # [BLOCK, COLUMNS]
        total = total * fade[:, None] + _product(weights.to(values.dtype), values, WIDEN)
        top = higher

    out = (first + members) * SHARES + share
    tl.store(sums + out[:, None] * DIM + columns[None, :], total / mass[:, None], mask=inside)
    tl.store(masses + out, top + tl.log2(mass), mask=members < GROUP)


@triton.jit
def join_shares(
    sums,  # [rows, HEADS, SHARES, DIM] float32
    masses,  # [rows, HEADS, SHARES] float32
    lengths,  # [rows] int32
    out,  # [rows, HEADS, DIM]
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr,
    SHARES: tl.constexpr,
    SHORTEST: tl.constexpr,
):
    """The attention of one row and query head from that of its shares."""
    at = tl.program_id(0).to(tl.int64) * HEADS + tl.program_id(1)
    length = tl.load(lengths + tl.program_id(0))
    step = tl.maximum(tl.cdiv(tl.cdiv(length, SHARES), BLOCK) * BLOCK, SHORTEST)
    shares = tl.arange(0, SHARES)
    columns = tl.arange(0, COLUMNS)
    used = shares < tl.cdiv(length, step)
    mass = tl.load(masses + at * SHARES + shares, mask=used, other=float("-inf"))
    weights = tl.exp2(mass - tl.max(mass, 0))
    shown = used[:, None] & (columns[None, :] < DIM)
    parts = tl.load(sums + (at * SHARES + shares[:, None]) * DIM + columns[None, :], mask=shown, other=0.0)
    summed = tl.sum(parts * weights[:, None], 0)
    joined = summed / tl.sum(weights, 0)  # pyright: ignore[reportOperatorIssue]
    tl.store(out + at * DIM + columns, joined.to(out.dtype.element_ty), mask=columns < DIM)
