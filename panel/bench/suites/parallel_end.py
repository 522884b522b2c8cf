"""One end of a way: `python -m pdpanel.panel.bench.suites.parallel_end KIND WAY NUMBER ENDS BYTES`.

Reads orders from standard input and answers each with a report (see `parallel_wire`), the first before any order. Ends
with its input, by os._exit: what transports leave behind may break a process that leaves in order.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import msgspec
import torch

from ....engine.errors import PdpanelError
from .parallel_wire import Meet, Order, Report

if TYPE_CHECKING:
    from .parallel_ways import Way

__all__ = ["main"]


def _handled(way: Way, order: Order) -> Report:
    if isinstance(order, Meet):
        way.meet(order.addresses)
        return Report()
    began = time.perf_counter()
    for _ in range(order.times):
        way.move(proven=order.proven)
    return Report(sent=order.times * way.sent, seconds=time.perf_counter() - began)


def main(arguments: list[str]) -> None:
    """Runs until the input ends."""
    kind, name, number, ends, size = arguments
    torch.set_num_threads(1)
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what libraries print is no report
    try:
        if kind == "exchange":
            from .parallel_ways import EXCHANGES as WAYS
        else:
            from .parallel_embeddings import EMBEDDINGS as WAYS
        way = WAYS[name](int(number), int(ends), int(size))
    except PdpanelError as error:
        out.write(msgspec.json.encode(Report(error=str(error), unavailable=True)) + b"\n")
        os._exit(0)
    out.write(msgspec.json.encode(Report(address=way.address())) + b"\n")
    for line in sys.stdin.buffer:
        try:
            report = _handled(way, msgspec.json.decode(line, type=Order))
        except PdpanelError as error:
            report = Report(error=str(error))
        out.write(msgspec.json.encode(report) + b"\n")
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
