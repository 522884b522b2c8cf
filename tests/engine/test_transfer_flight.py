"""How many jobs of a write Mooncake has at a time, what becomes of them, and when they are asked about."""

from __future__ import annotations

import threading
import time

import pytest
from pdpanel.engine.transfer.api import EndpointInfo, Segment, TicketState, TransferSettings
from pdpanel.engine.transfer.flight import DONE, RUNNING, Pace
from pdpanel.engine.transfer.mooncake import _MooncakeLink
from pdpanel.engine.transfer.ticket import WriteTicket
from pdpanel.engine.transfer.write_pool import Write, WritePool

SETTINGS = TransferSettings(timeout_s=5.0)
SIZE = 1 << 40


class Engine:
    """Numbers jobs; each runs until `end`, and must not be asked about after it ended."""

    def __init__(self, *, at_once: bool = False) -> None:
        self.jobs: list[tuple[int, int, int]] = []
        self.status: dict[int, int] = {}
        self.most = 0
        self.changed = threading.Condition()
        self._at_once = at_once

    def send_probe(self, session: str) -> int:
        return 0

    def transfer_submit_write(self, session: str, source: int, target: int, length: int) -> int:
        with self.changed:
            self.jobs.append((source, target, length))
            self.status[len(self.jobs)] = DONE if self._at_once else RUNNING
            self.most = max(self.most, len(self.status))
            self.changed.notify_all()
            return len(self.jobs)

    def transfer_check_status(self, job: int) -> int:
        with self.changed:
            status = self.status[job]
            if status != RUNNING:
                del self.status[job]
            return status

    def end(self, *jobs: int, status: int = DONE) -> None:
        with self.changed:
            self.status.update(dict.fromkeys(jobs, status))

    def wait_jobs(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.jobs) >= count, 20), len(self.jobs)


def begin(engine: Engine, segments: list[Segment]) -> tuple[WriteTicket, _MooncakeLink]:
    info = EndpointInfo("mooncake", "127.0.0.1:1", 1000, SIZE)
    link = _MooncakeLink(engine, (5000, SIZE), info, SETTINGS, WritePool("test", queues=1, threads=1))
    return link.write(segments), link


def test_many_segments_are_under_way_together_and_all_are_written_in_order() -> None:
    engine = Engine(at_once=True)
    segments = [Segment(10 * place, 20 * place, 10 * (place % 3 > 0)) for place in range(300)]
    ticket, link = begin(engine, segments)
    assert ticket.wait(20) and ticket.state is TicketState.DONE
    assert engine.jobs == [(5000 + s.source, 1000 + s.target, s.length) for s in segments if s.length]
    assert engine.most == 64 and not engine.status
    link.close()


def test_a_write_is_done_when_its_last_job_is() -> None:
    engine = Engine()
    ticket, link = begin(engine, [Segment(place, place, 1) for place in range(3)])
    engine.wait_jobs(3)
    engine.end(1, 2)
    assert not ticket.wait(0.02)
    engine.end(3)
    assert ticket.wait(20) and ticket.state is TicketState.DONE
    link.close()


def test_a_large_segment_goes_in_pieces() -> None:
    engine = Engine(at_once=True)
    ticket, link = begin(engine, [Segment(7, 9, 3 << 20), Segment(0, 0, 0), Segment(4 << 20, 5 << 20, (1 << 20) + 1)])
    assert ticket.wait(20) and ticket.state is TicketState.DONE
    big, small = 1 << 20, 5 << 20
    first = [(5007 + done * big, 1009 + done * big, big) for done in range(3)]
    assert engine.jobs == [*first, (5000 + 4 * big, 1000 + small, big), (5000 + 5 * big, 1000 + small + big, 1)]
    link.close()


def test_when_a_job_fails_the_others_are_left_to_the_engine() -> None:
    engine = Engine()
    ticket, link = begin(engine, [Segment(place, place, 1) for place in range(3)])
    engine.wait_jobs(3)
    engine.end(1, status=-1)
    assert ticket.wait(20) and ticket.state is TicketState.FAILED and not ticket.quiesced
    assert "failed with code -1" in ticket.error
    link.close()
    assert not link.is_still(time.monotonic()), "its memory must not be taken from under it"
    engine.end(2, 3, status=-1)
    assert link.is_still(time.monotonic() + 5)


def test_what_is_begun_in_time_ends_and_nothing_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    late = threading.Event()
    monkeypatch.setattr(Write, "late", property(lambda write: late.is_set()))
    engine = Engine()
    ticket, link = begin(engine, [Segment(place, place, 1) for place in range(100)])
    engine.wait_jobs(64)
    late.set()
    assert not ticket.wait(0.02), "64 are under way"
    engine.end(*range(1, 65))
    assert ticket.wait(20) and ticket.state is TicketState.FAILED and ticket.quiesced
    assert "time was over" in ticket.error and len(engine.jobs) == 64
    link.close()


def test_a_link_that_is_closed_begins_nothing_more() -> None:
    engine = Engine()
    ticket, link = begin(engine, [Segment(place, place, 1) for place in range(100)])
    engine.wait_jobs(64)
    link.close()
    assert ticket.state is TicketState.FAILED and not ticket.quiesced and len(engine.jobs) == 64
    engine.end(*range(1, 65), status=-1)
    assert link.is_still(time.monotonic() + 5)


@pytest.mark.parametrize("size", [1 << 20, 16 << 20])
def test_a_write_is_asked_about_around_the_time_when_it_should_end(size: int) -> None:
    pace = Pace()
    pace.learn(1 << 20, 1e-3)
    pace.learn(1, 1.0)  # says nothing of speed
    expected = size / (1 << 20) * 1e-3
    elapsed, asked = 0.0, 0
    while elapsed < expected:
        elapsed += pace.pause_s(size, elapsed)
        asked += 1
    assert elapsed < 1.05 * expected and asked < 25


def test_a_pause_grows_with_the_time_that_has_passed_and_is_never_long() -> None:
    pauses = [Pace().pause_s(1 << 20, elapsed) for elapsed in (0.0, 0.01, 0.03, 1.0, 60.0)]
    assert pauses == sorted(pauses) and pauses[0] > 0 and pauses[-1] < 0.01
