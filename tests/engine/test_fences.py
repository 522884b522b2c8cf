"""Work behind fences: in order, each piece after its fence, and a broken device is told."""

from __future__ import annotations

import threading

from pdpanel.engine.fences import Fences


def test_work_waits_for_its_fence_and_keeps_its_order() -> None:
    fences, gate, done = Fences(), threading.Event(), list[str]()
    fences.put(lambda: _pass(gate), lambda: done.append("first"), done.append)
    fences.put(lambda: None, lambda: done.append("second"), done.append)
    assert done == []
    gate.set()
    fences.close()
    assert done == ["first", "second"]


def _pass(gate: threading.Event) -> None:
    assert gate.wait(20)


def test_a_fence_that_breaks_fails_its_work_alone() -> None:
    fences, done = Fences(), list[str]()

    def broken() -> None:
        raise RuntimeError("CUDA error: an illegal memory access")

    fences.put(broken, lambda: done.append("never"), done.append)
    fences.put(lambda: None, lambda: done.append("next"), done.append)
    fences.close()
    assert len(done) == 2 and "illegal memory access" in done[0] and done[1] == "next"


def test_without_work_there_is_nothing_to_close() -> None:
    Fences().close()
