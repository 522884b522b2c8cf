"""What a room's peer hears, and when: pages as they arrive, the commit with the end of the last write."""

from __future__ import annotations

import pytest
from pdpanel.engine.outgoing import Outgoing
from pdpanel.engine.pages import Run
from pdpanel.engine.peer.messages import Arrived, Commit

COMMIT = Commit(7, 42, 0, 0, 0)
TARGET = (Run(10, 6),)


class Room:
    """A room and what its peer heard."""

    def __init__(self) -> None:
        self.heard: list[Arrived | Commit] = []
        self.sent = Outgoing(7, "D", lambda sent, message: self.heard.append(message))

    def write(self, pages: int) -> int:
        return self.sent.begin(pages)

    def done(self, place: int, pages: int) -> None:
        self.sent.done(place, pages=pages, writes=1, size=100 * pages, seconds=0.5)


def test_the_commit_waits_for_every_write_and_names_them_all() -> None:
    room = Room()
    first, second = room.write(4), room.write(2)
    room.done(first, 4)
    assert room.heard == [Arrived(7, 4)]
    room.sent.commit(COMMIT, TARGET)
    assert room.heard == [Arrived(7, 4)] and room.sent.again() is None
    room.done(second, 2)
    commit = Commit(7, 42, pages=6, bytes=600, writes=2)
    assert room.heard == [Arrived(7, 4), commit] and room.sent.again() == commit
    assert room.sent.seconds == 1.0


def test_a_commit_after_the_last_write_leaves_at_once() -> None:
    room = Room()
    room.done(room.write(3), 3)
    room.sent.commit(COMMIT, TARGET)
    assert room.heard == [Arrived(7, 3), Commit(7, 42, pages=3, bytes=300, writes=1)]


def test_only_pages_without_a_gap_before_them_have_arrived() -> None:
    room = Room()
    first, second, third = room.write(1), room.write(2), room.write(3)
    room.sent.commit(COMMIT, TARGET)
    room.done(second, 2)
    assert room.heard == []
    room.done(first, 1)
    assert room.heard == [Arrived(7, 3)]
    room.done(third, 3)
    assert [type(message) for message in room.heard] == [Arrived, Commit]


@pytest.mark.parametrize("how", ["failed", "given up"])
def test_after_a_failure_the_peer_hears_no_commit(how: str) -> None:
    room = Room()
    first, second = room.write(1), room.write(1)
    room.sent.commit(COMMIT, TARGET)
    if how == "failed":
        room.sent.failed()
        room.done(first, 1)
    else:
        room.done(first, 1)
        room.sent.end()
        room.done(second, 1)
    assert Commit not in map(type, room.heard) and room.sent.again() is None


def test_checksums_are_those_of_the_granted_pages_in_order() -> None:
    room = Room()
    room.sent.digests.update({11: 5, 10: 4, 99: 1})
    room.done(room.write(2), 2)
    room.sent.commit(COMMIT, (Run(10, 2),))
    last = room.heard[-1]
    assert isinstance(last, Commit) and last.digest == (4, 5)
