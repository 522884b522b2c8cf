"""The function that runs a step: every operation in order, its tiles shared out among the threads that run it.

Threads take the next tile of an operation as they come to it, and an operation is over when its tiles are done, whoever
did them. So a thread that comes late, or that the kernel has put aside, delays the others by the tile that it works on
at most: workers may share cores. Who waits does so for a moment busily, then asleep, so that a core is free for whoever
has the tile.
"""

from __future__ import annotations

import llvmlite.ir as ir

from .code import INT, LONG, POINTER, Code

__all__ = ["LINE_WORDS", "OPERATION_WORDS", "write_drive"]

OPERATION_WORDS = 4
"""64-bit words of an operation: function, arguments, tiles, and one that is free."""

LINE_WORDS = 8
"""Words of counters for each operation, a cache line: tiles taken, tiles done, and others that are free."""

_SPINS = 400
_NAP_US = 50


def _pause(code: Code) -> None:
    machine = str(code.function.module.triple)
    text = "yield" if machine.startswith(("aarch64", "arm64")) else "pause"
    code.build.call(ir.InlineAsm(ir.FunctionType(ir.VoidType(), ()), text, "", side_effect=True), ())


def write_drive(module: ir.Module) -> ir.Function:
    """Writes drive(operations, count, counters, scratch, clock).

    counters: LINE_WORDS for each operation, zeros before the run and for it alone. clock: one word for each operation
    that gets the cycle counter after it, or 0.
    """
    code = Code(module, "drive", (POINTER, LONG, POINTER, POINTER, POINTER), internal=False)
    operations, count, counters, scratch, clock = code.arguments
    build = code.build
    kernel = ir.FunctionType(ir.VoidType(), (POINTER, LONG, POINTER))
    nap = ir.Function(module, ir.FunctionType(INT, (INT,)), "usleep")
    cycles = ir.Function(module, ir.FunctionType(LONG, ()), "llvm.readcyclecounter")
    with code.loop(code.long(0), count) as index:
        operation = code.at(operations, code.times(index, 8 * OPERATION_WORDS))
        function = build.inttoptr(code.field(operation, 0), kernel.as_pointer())
        arguments, tiles = code.address(operation, 1), code.field(operation, 2)
        taken = code.at(counters, code.times(index, 8 * LINE_WORDS))
        done = code.at(taken, 8)
        turns = code.variable(code.long(0))
        names = ("take", "work", "look", "wait", "sleep", "go")
        take, work, look, wait, sleep, go = (code.function.append_basic_block(name) for name in names)
        build.cbranch(build.icmp_signed(">", tiles, code.long(0)), take, go)
        build.position_at_end(take)
        tile = build.atomic_rmw("add", taken, code.long(1), "monotonic")
        build.cbranch(build.icmp_signed("<", tile, tiles), work, look)
        build.position_at_end(work)
        build.call(function, (arguments, tile, scratch))
        build.atomic_rmw("add", done, code.long(1), "acq_rel")
        build.branch(take)
        build.position_at_end(look)
        here = build.load_atomic(done, "acquire", 8, typ=LONG)
        build.cbranch(build.icmp_signed(">=", here, tiles), go, wait)
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
