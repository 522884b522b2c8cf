"""Kernels of attention: one for sequences with one new token, two for those with several.

One token: the scores of its query heads against every key, their softmax, the sum of the values. Several: keys are
first turned into panels of 32 tokens and values into floats, once for all queries; then blocks of queries are products
like those of linear layers. Softmax is over the whole row, so a query has the same bits in every block and chunk.
"""

from __future__ import annotations

from typing import Any

import llvmlite.ir as ir

from .code import FLOAT, INT, LANES, LONG, POINTER, VECTOR, Code, vector_of
from .elements import Element
from .formats import PANEL
from .levels import BLOCK_BYTES, row_bytes, write_group
from .linear import Epilogue
from .mathematics import exponential
from .rows import Heads

__all__ = ["query_tokens", "scratch_floats", "write_several", "write_single", "write_turn"]

_STEP = 4 * LANES
_PANEL_BYTES = 4 * PANEL
_NEVER = -1.0e30
_BLOCK_ROWS = 24


def query_tokens(heads: Heads) -> int:
    """Returns how many tokens of a sequence a tile of `several` takes: their rows fill two blocks of 12."""
    return max(1, _BLOCK_ROWS // heads.group)


def scratch_floats(heads: Heads, longest: int) -> int:
    """Returns the floats of scratch memory that the kernels need for sequences of up to `longest` tokens."""
    padded = -(-longest // PANEL) * PANEL
    return query_tokens(heads) * heads.group * (padded + 2 * heads.dim + LANES)


def _softmax(code: Code, scores: Any, limit: Any, padded: Any) -> Any:
    """Turns `padded` scores into weights, those from `limit` on into 0; returns one over their sum, as a vector."""
    build = code.build
    lanes = ir.Constant(vector_of(INT), list(range(LANES)))
    most, total = code.variable(code.floats(_NEVER)), code.variable(code.floats(0.0))

    def valid(at: Any) -> Any:
        here = code.splat(build.trunc(at, INT))
        return build.icmp_signed("<", build.add(here, lanes), code.splat(build.trunc(limit, INT)))

    with code.loop(code.long(0), limit, LANES) as at:
        here = build.select(valid(at), code.load(code.at(scores, code.times(at, 4)), VECTOR), code.floats(_NEVER))
        most.value = code.larger(most.value, here)
    highest = code.splat(code.largest(most.value))
    with code.loop(code.long(0), padded, LANES) as at:
        place = code.at(scores, code.times(at, 4))
        weight = exponential(code, build.fsub(code.load(place, VECTOR), highest))
        weight = build.select(valid(at), weight, code.floats(0.0))
        total.value = build.fadd(total.value, weight)
        code.store(weight, place)
    return code.splat(build.fdiv(code.float(1.0), code.sum(total.value)))


def write_single(module: ir.Module, heads: Heads, element: Element, *, levels: bool) -> ir.Function:
    """Attention of one token over all before it; a tile is a key head of a sequence.

    Words: q|k|v rows, bytes of such a row, K of the layer, V of the layer, bytes from head to head there, out, bytes of
    a row of it, table (int64 [sequences, 3]: row, first place, tokens). With `levels` rows of `out` are blocks of whole
    numbers, else floats.
    """
    code = Code(module, "attend_single", (POINTER, LONG, POINTER), internal=False)
    arguments, tile, scratch = code.arguments
    build = code.build
    sequence, head = build.sdiv(tile, code.long(heads.keys)), build.srem(tile, code.long(heads.keys))
    table = code.at(code.address(arguments, 7), code.times(sequence, 24))
    row, first, tokens = (code.load(code.at(table, 8 * i), LONG, align=8) for i in range(3))
    start = build.add(build.mul(head, code.field(arguments, 4)), code.times(first, heads.dim * element.size))
    keys, values = code.at(code.address(arguments, 2), start), code.at(code.address(arguments, 3), start)
    of_head = code.times(head, heads.group * heads.dim * 4)
    queries = code.at(code.at(code.address(arguments, 0), build.mul(row, code.field(arguments, 1))), of_head)
    of_out = code.times(head, row_bytes(heads.group * heads.dim)) if levels else of_head
    out = code.at(code.at(code.address(arguments, 5), build.mul(row, code.field(arguments, 6))), of_out)
    vectors = heads.dim // LANES
    padded = code.times(build.sdiv(build.add(tokens, code.long(LANES - 1)), code.long(LANES)), LANES)
    line = code.times(padded, 4)
    scale = code.floats(heads.dim**-0.5)
    query = [
        [build.fmul(code.load(code.at(queries, (group * vectors + i) * _STEP), VECTOR), scale) for i in range(vectors)]
        for group in range(heads.group)
    ]
    step = heads.dim * element.size
    with code.loop(code.long(0), tokens) as token:
        here = code.at(keys, code.times(token, step))
        key = [element.load(code, code.at(here, LANES * element.size * i)) for i in range(vectors)]
        for group in range(heads.group):
            total = build.fmul(query[group][0], key[0])
            for i in range(1, vectors):
                total = code.fma(query[group][i], key[i], total)
            place = code.at(code.at(scratch, code.times(line, group)), code.times(token, 4))
            code.store(code.sum(total), place)
    shares = [_softmax(code, code.at(scratch, code.times(line, group)), tokens, padded) for group in range(heads.group)]
    sums = [[code.variable(code.floats(0.0)) for _ in range(vectors)] for _ in range(heads.group)]
    with code.loop(code.long(0), tokens) as token:
        here = code.at(values, code.times(token, step))
        value = [element.load(code, code.at(here, LANES * element.size * i)) for i in range(vectors)]
        for group in range(heads.group):
            place = code.at(code.at(scratch, code.times(line, group)), code.times(token, 4))
            weight = code.splat(code.load(place, FLOAT))
            for i in range(vectors):
                sums[group][i].value = code.fma(weight, value[i], sums[group][i].value)
    found = [build.fmul(sums[group][i].value, shares[group]) for group in range(heads.group) for i in range(vectors)]
    if levels:
        for at in range(0, len(found), 2):
            write_group(code, found[at], found[at + 1], code.at(out, at // 2 * BLOCK_BYTES))
    else:
        for at, vector in enumerate(found):
            code.store(vector, code.at(out, at * _STEP))
    return code.end()


def write_turn(module: ir.Module, heads: Heads, element: Element) -> ir.Function:
    """Turns 32 keys of a head into a panel [dim, 32] of floats, and copies their values as floats [32, dim].

    Words: K of the layer, V of the layer, bytes from head to head there, table (int64 [tiles, 5]: head, first place,
    tokens up to 32, target of the keys, target of the values). Keys that are missing become 0.
    """
    code = Code(module, "turn", (POINTER, LONG, POINTER), internal=False)
    arguments, tile, _ = code.arguments
    build = code.build
    table = code.at(code.address(arguments, 3), code.times(tile, 40))
    head, first, tokens, to_keys, to_values = (code.load(code.at(table, 8 * i), LONG, align=8) for i in range(5))
    step = heads.dim * element.size
    start = build.add(build.mul(head, code.field(arguments, 2)), code.times(first, step))
    keys, values = code.at(code.address(arguments, 0), start), code.at(code.address(arguments, 1), start)
    panel, copied = build.inttoptr(to_keys, POINTER), build.inttoptr(to_values, POINTER)
    with code.loop(code.long(0), tokens) as token:
        here, target = code.at(keys, code.times(token, step)), code.at(panel, code.times(token, 4))
        with code.loop(code.long(0), code.long(heads.dim)) as i:
            one = element.scalar(code, code.at(here, code.times(i, element.size)))
            code.store(one, code.at(target, code.times(i, _PANEL_BYTES)))
        here, target = code.at(values, code.times(token, step)), code.at(copied, code.times(token, 4 * heads.dim))
        for i in range(heads.dim // LANES):
            vector = element.load(code, code.at(here, LANES * element.size * i))
            code.store(vector, code.at(target, _STEP * i))
    with code.loop(tokens, code.long(PANEL)) as token:
        target = code.at(panel, code.times(token, 4))
        with code.loop(code.long(0), code.long(heads.dim)) as i:
            code.store(code.float(0.0), code.at(target, code.times(i, _PANEL_BYTES)))
    return code.end()


def write_several(module: ir.Module, heads: Heads, blocks: ir.Function) -> ir.Function:
    """Attention of a few neighbouring tokens of one sequence, for one key head.

    Words: q|k|v rows, bytes of such a row, out, bytes of a row of it, table (int64 [tiles, 6]: row of the first token,
    tokens, how many tokens the first one sees, head, panels of keys, values).
    """
    code = Code(module, "attend_several", (POINTER, LONG, POINTER), internal=False)
    arguments, tile, scratch = code.arguments
    build = code.build
    table = code.at(code.address(arguments, 4), code.times(tile, 48))
    row, tokens, sees, head, to_keys, to_values = (code.load(code.at(table, 8 * i), LONG, align=8) for i in range(6))
    panels, values = build.inttoptr(to_keys, POINTER), build.inttoptr(to_values, POINTER)
    row_bytes, out_bytes = code.field(arguments, 1), code.field(arguments, 3)
    of_head = code.times(head, heads.group * heads.dim * 4)
    queries = code.at(code.at(code.address(arguments, 0), build.mul(row, row_bytes)), of_head)
    out = code.at(code.at(code.address(arguments, 2), build.mul(row, out_bytes)), of_head)
    last = build.sub(build.add(sees, tokens), code.long(1))
    panel_count = build.sdiv(build.add(last, code.long(PANEL - 1)), code.long(PANEL))
    padded = code.times(panel_count, PANEL)
    line = code.times(padded, 4)
    rows = code.times(tokens, heads.group)
    head_bytes = heads.dim * 4
    most_rows = query_tokens(heads) * heads.group
    gathered, results = scratch, code.at(scratch, most_rows * head_bytes)
    scores = code.at(scratch, 2 * most_rows * head_bytes)
    scale = code.floats(heads.dim**-0.5)
    row_floats = heads.group * heads.dim * 4
    store = code.long(Epilogue.STORE)
    with code.loop(code.long(0), tokens) as token:
        source, target = code.at(queries, build.mul(token, row_bytes)), code.at(gathered, code.times(token, row_floats))
        with code.loop(code.long(0), code.long(row_floats), _STEP) as at:
            code.store(build.fmul(code.load(code.at(source, at), VECTOR), scale), code.at(target, at))
    with code.loop(code.long(0), panel_count) as panel:
        keys = code.at(panels, code.times(panel, heads.dim * _PANEL_BYTES))
        target = code.at(scores, code.times(panel, _PANEL_BYTES))
        width = code.long(_PANEL_BYTES)
        code.call(
            blocks, (gathered, code.long(head_bytes), keys, width, target, line, code.long(heads.dim), rows, store)
        )
    shares = code.at(scores, build.mul(rows, line))
    with code.loop(code.long(0), tokens) as token:
        limit = build.add(sees, token)
        with code.loop(code.long(0), code.long(heads.group)) as group:
            at = build.add(code.times(token, heads.group), group)
            share = _softmax(code, code.at(scores, build.mul(at, line)), limit, padded)
            code.store(share, code.at(shares, code.times(at, _STEP)))
    for panel in range(heads.dim // PANEL):
        place = panel * _PANEL_BYTES
        target, step = code.at(results, place), code.long(head_bytes)
        code.call(blocks, (scores, line, code.at(values, place), step, target, step, last, rows, store))
    with code.loop(code.long(0), tokens) as token:
        source, target = code.at(results, code.times(token, row_floats)), code.at(out, build.mul(token, out_bytes))
        first = code.at(shares, code.times(code.times(token, heads.group), _STEP))
        with code.loop(code.long(0), code.long(heads.group)) as group:
            share = code.load(code.at(first, code.times(group, _STEP)), VECTOR)
            place = code.times(group, head_bytes)
            for i in range(heads.dim // LANES):
                here = code.at(code.at(source, place), _STEP * i)
                code.store(build.fmul(code.load(here, VECTOR), share), code.at(code.at(target, place), _STEP * i))
    return code.end()
