"""What decode does with a promise of prefill's that came while it stood still."""

from __future__ import annotations

from pdpanel.engine.actions import FenceLifted
from pdpanel.engine.decode_core import DecodeCore
from pdpanel.engine.lifecycle import DECODE
from pdpanel.engine.pages import PagePool
from pdpanel.engine.request import Bootstrap, Finish, FinishKind, GenerateRequest, SamplingParams
from pdpanel.engine.schedule import Schedule
from pdpanel.engine.sequence import Sequence

PAGES = 24


def fenced() -> DecodeCore:
    """Returns a core whose only request, with five pages, was given up at time 0 after they were granted."""
    schedule = Schedule(PagePool(PAGES), page_size=4, chunk_tokens=16, max_running=4, reserve_tokens=0)
    core = DecodeCore(schedule, PagePool(PAGES), staging_share=1.0, waiting_timeout_s=50, fence_s=30)
    request = GenerateRequest("r", tuple(range(20)), SamplingParams(max_new_tokens=4), Bootstrap("h", 1, 7))
    sequence = Sequence(
        1, request, DECODE, seed=0, limit=24, stop_ids=frozenset(), tokens=list(range(20)), state=DECODE.start, peer="P"
    )
    core.tick(0.0)
    core.submit(sequence, 0.0)
    core.abort(sequence, Finish(FinishKind.ABORT, message="the client left", http_status=499), 0.0)
    return core


def lifted(core: DecodeCore) -> list[str]:
    return [action.why for action in core.actions if isinstance(action, FenceLifted)]


def test_a_promise_lifts_the_fence_at_once() -> None:
    core = fenced()
    core.drained("P", 7, 0.1)
    assert core.staging.statistics().free == PAGES and lifted(core) == ["drained"]


def test_a_promise_that_came_during_a_stop_may_overtake_what_was_written_before() -> None:
    """The machine of attention groups found a page written after prefill had promised to write no more.

    The promise and the bytes come to a stopped process over two connections. When it goes on, the promise may be read
    first, and the pages had been given to another request by then.
    """
    core = fenced()
    core.drained("P", 7, 40.0)
    core.tick(40.0)
    core.tick(40.5)
    assert core.staging.statistics().quarantined == 5 and not lifted(core)
    core.tick(41.0)
    assert core.staging.statistics().free == PAGES and lifted(core) == ["drained"]
