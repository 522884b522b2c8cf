"""The function that runs a step: every operation in order, its tiles shared out among the threads that run it.

Threads take the next tile of an operation as they come to it, so one that the kernel has put aside delays the others
by a tile at most, not by its whole share: workers may share cores. Between two operations all wait for each other: a
moment busily, then asleep, so that a core is free for whoever the operation waits for.
"""

from __future__ import annotations

import llvmlite.ir as ir

from .code import INT, LONG, POINTER, Code

__all__ = ["LINE_WORDS", "OPERATION_WORDS", "write_drive"]

OPERATION_WORDS = 4
"""64-bit words of an operation: function, arguments, tiles, and one that is free."""

LINE_WORDS = 8
"""Words from one counter to the next: each has a cache line of its own."""

_SPINS = 400
_NAP_US = 50


def _pause(code: Code) -> None:
    machine = str(code.function.module.triple)
    text = "yield" if machine.startswith(("aarch64", "arm64")) else "pause"
    code.build.call(ir.InlineAsm(ir.FunctionType(ir.VoidType(), ()), text, "", side_effect=True), ())


def write_drive(module: ir.Module) -> ir.Function:
    """Writes drive(operations, count, counters, threads, base, scratch, clock).

    counters: a word with all arrivals so far, then one for each operation with its tiles taken, each on a line of its
    own. base: arrivals before this run. clock: one word for each operation that gets the cycle counter after it, or 0.
    """
    types = (POINTER, LONG, POINTER, LONG, LONG, POINTER, POINTER)
    code = Code(module, "drive", types, internal=False)
    operations, count, counters, threads, base, scratch, clock = code.arguments
    build = code.build
    kernel = ir.FunctionType(ir.VoidType(), (POINTER, LONG, POINTER))
    nap = ir.Function(module, ir.FunctionType(INT, (INT,)), "usleep")
    cycles = ir.Function(module, ir.FunctionType(LONG, ()), "llvm.readcyclecounter")
    arrivals = counters
    wanted = code.variable(base)
    with code.loop(code.long(0), count) as index:
        operation = code.at(operations, code.times(index, 8 * OPERATION_WORDS))
        function = build.inttoptr(code.field(operation, 0), kernel.as_pointer())
        arguments = code.address(operation, 1)
        tiles = code.field(operation, 2)
        counter = code.at(counters, code.times(build.add(index, code.long(1)), 8 * LINE_WORDS))
        take, work, done = (code.function.append_basic_block(name) for name in ("take", "work", "done"))
        build.branch(take)
        build.position_at_end(take)
        tile = build.atomic_rmw("add", counter, code.long(1), "monotonic")
        build.cbranch(build.icmp_signed("<", tile, tiles), work, done)
        build.position_at_end(work)
        build.call(function, (arguments, tile, scratch))
        build.branch(take)
        build.position_at_end(done)
        wanted.value = build.add(wanted.value, threads)
        with build.if_then(build.icmp_signed(">", threads, code.long(1))):
            build.atomic_rmw("add", arrivals, code.long(1), "seq_cst")
            turns = code.variable(code.long(0))
            look, wait, sleep, go = (code.function.append_basic_block(name) for name in ("look", "wait", "sleep", "go"))
            build.branch(look)
            build.position_at_end(look)
            here = build.load_atomic(arrivals, "acquire", 8, typ=LONG)
            build.cbranch(build.icmp_signed(">=", here, wanted.value), go, wait)
            build.position_at_end(wait)
            turns.value = build.add(turns.value, code.long(1))
            _pause(code)
            build.cbranch(build.icmp_signed("<", turns.value, code.long(_SPINS)), look, sleep)
            build.position_at_end(sleep)
            build.call(nap, (ir.Constant(INT, _NAP_US),))
            build.branch(look)
            build.position_at_end(go)
        with build.if_then(build.icmp_signed("!=", build.ptrtoint(clock, LONG), code.long(0))):
            code.store(build.call(cycles, ()), code.at(clock, code.times(index, 8)), align=8)
    return code.end()
