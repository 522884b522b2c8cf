"""Decode copies pages as they arrive: each once, into its place, and none of a room that is not granted."""

from __future__ import annotations

from pdpanel.engine.actions import ImportPages, SendAck
from pdpanel.engine.decode_core import DecodeCore
from pdpanel.engine.lifecycle import DECODE, State
from pdpanel.engine.pages import PagePool, Run
from pdpanel.engine.request import Bootstrap, Finish, FinishKind, GenerateRequest, SamplingParams
from pdpanel.engine.schedule import Schedule
from pdpanel.engine.sequence import Sequence

PAGE = 4
GONE = Finish(FinishKind.ABORT, message="the client left", http_status=499)


def granted(prompt: int) -> tuple[DecodeCore, Sequence]:
    """Returns a core and a request whose pages are granted."""
    schedule = Schedule(PagePool(24), page_size=PAGE, chunk_tokens=16, max_running=4, reserve_tokens=6)
    core = DecodeCore(schedule, PagePool(24), staging_share=1.0, waiting_timeout_s=50, fence_s=30)
    request = GenerateRequest("r", tuple(range(prompt)), SamplingParams(max_new_tokens=4), Bootstrap("h", 1, 7))
    sequence = Sequence(
        1, request, DECODE, seed=0, limit=prompt + 4, stop_ids=frozenset(), tokens=list(range(prompt)),
        state=DECODE.start, peer="P",
    )  # fmt: skip
    core.submit(sequence, 0.0)
    core.actions = []
    assert sequence.state is State.GRANTED
    return core, sequence


def imports(core: DecodeCore) -> list[tuple[int, tuple[Run, ...]]]:
    found = [(action.slot_page, action.staging) for action in core.actions if isinstance(action, ImportPages)]
    core.actions = []
    return found


def test_pages_are_copied_as_they_arrive_and_the_rest_with_the_commit() -> None:
    core, sequence = granted(42)
    assert sequence.slot is not None
    slot, page = sequence.slot.start, sequence.staging[0].start
    core.arrived("P", 7, 4)
    core.arrived("P", 7, 4)
    assert imports(core) == [(slot, (Run(page, 4),))], "once"
    core.arrived("P", 7, 8)
    assert imports(core) == [(slot + 4, (Run(page + 4, 4),))]
    assert sequence.state is State.GRANTED and core.staging.free == 24 - 11
    assert core.committed("P", 7, 1, 0.0)
    assert imports(core) == [(slot + 8, (Run(page + 8, 3),))]
    assert sequence.computed == 42 and core.staging.free == 24 and core.integrity() == []


def test_a_commit_brings_nothing_to_copy_when_all_pages_arrived() -> None:
    core, _ = granted(10)
    core.arrived("P", 7, 99)
    assert sum(run.count for _, runs in imports(core) for run in runs) == 3, "what was granted and no more"
    assert core.committed("P", 7, 1, 0.0)
    assert [ack.known for ack in core.actions if isinstance(ack, SendAck)] == [True]
    assert imports(core) == []


def test_pages_of_a_room_that_is_given_up_or_of_another_peer_are_left_alone() -> None:
    core, sequence = granted(20)
    core.arrived("Q", 7, 4)
    core.arrived("P", 8, 4)
    assert imports(core) == [] and core.stale_messages == 2
    core.arrived("P", 7, 4)
    core.abort(sequence, GONE, 1.0)
    core.actions = []
    core.arrived("P", 7, 5)
    assert imports(core) == [] and sequence.state is State.FENCING and core.integrity() == []
