"""The first rank's connections: orders in one order to all, reports back, and who is gone, with pretended followers."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import PdpanelError, RankError, RemoteProtocolError
from pdpanel.engine.parallel.agreement import Member
from pdpanel.engine.parallel.children import Children
from pdpanel.engine.parallel.frames import (
    Down,
    FrameSocket,
    Joining,
    Load,
    Loaded,
    Pulse,
    Serve,
    decode_down,
    decode_up,
    encode,
    tell_end,
)
from pdpanel.engine.parallel.leader import Leader
from pdpanel.engine.parallel.orders import Compute, Failed, Move, SpanOrder, Stop, Written

SECRET = "open"
HOST = socket.gethostname()
WAIT_S = 20.0
EXIT_S = 0.05


@dataclass
class World:
    """A leader of two followers that this test plays."""

    leader: Leader
    port: int
    links: dict[int, FrameSocket] = field(default_factory=dict)
    lost: list[tuple[int, str]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def on_lost(self, rank: int, reason: str) -> None:
        with self.changed:
            self.lost.append((rank, reason))
            self.changed.notify_all()

    def connect(self) -> FrameSocket:
        return FrameSocket(socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S))

    def join(self, rank: int, secret: str = SECRET) -> FrameSocket:
        link = self.connect()
        link.send(Joining(secret, rank, 100 + rank))
        return link

    def heard(self, rank: int) -> Down:
        body = self.links[rank].receive()
        assert body is not None, "the leader closed the connection"
        return decode_down(body)

    def wait_lost(self) -> tuple[int, str]:
        with self.changed:
            assert self.changed.wait_for(lambda: bool(self.lost), WAIT_S)
            return self.lost[0]


@pytest.fixture
def apart() -> Iterator[World]:
    """A leader that waits for its followers."""
    listener = socket.create_server(("127.0.0.1", 0))
    members = {rank: Member(rank, rank - 1, 100 + rank, HOST if rank == 1 else "gpu2", {}) for rank in (1, 2)}
    leader = Leader(listener, SECRET, members, Children(), lambda rank, reason: world.on_lost(rank, reason), EXIT_S)
    world = World(leader, listener.getsockname()[1])
    yield world
    leader.stop()
    for link in world.links.values():
        link.close()


@pytest.fixture
def world(apart: World) -> World:
    """A leader with its followers."""
    apart.links |= {rank: apart.join(rank) for rank in (2, 1)}
    apart.leader.accept(WAIT_S)
    return apart


def test_orders_of_several_threads_come_in_one_order(world: World) -> None:
    def send(thread: int) -> None:
        for number in range(50):
            world.leader.send(Move(thread, number, 0, 1))

    threads = [threading.Thread(target=send, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    heard = {rank: [world.heard(rank) for _ in range(200)] for rank in (1, 2)}
    for thread in threads:
        thread.join()
    assert heard[1] == heard[2]
    for thread in range(4):
        own = [order.source for order in heard[1] if isinstance(order, Move) and order.group == thread]
        assert own == list(range(50))


def test_an_order_keeps_its_content(world: World) -> None:
    order = Compute((SpanOrder((5, 7), 0, 16, True, 1), SpanOrder((9,), 3, 0, False)), True)
    world.leader.send(order)
    assert world.heard(2) == order


def test_reports_of_a_write_go_to_who_waits_for_its_ticket(world: World) -> None:
    taken: list[Written] = []
    counted: list[int] = []
    done = threading.Event()
    world.leader.on_written = lambda report: counted.append(report.writes)
    world.leader.listen(4, lambda report: (taken.append(report), done.set() if len(taken) == 2 else None)[1])
    other, own = Written(4, 1, True, True, "", 10, 0.1, 2), Written(4, 0, True, True, "", 5, 0.1, 1)
    world.links[1].send(Written(3, 1, True, True, "", 1, 0.1, 7))
    world.links[1].send(other)
    world.leader.report(own)
    assert done.wait(WAIT_S)
    assert {report.rank for report in taken} == {0, 1} and set(taken) == {other, own}
    assert sorted(counted) == [1, 2, 7]
    world.leader.forget(4)
    world.leader.report(own)
    assert len(taken) == 2


def test_waiting_for_what_all_say(world: World) -> None:
    world.leader.tell(Load("abc", 64))
    for rank in (1, 2):
        assert world.heard(rank) == Load("abc", 64)
        world.links[rank].send(Pulse(rank, 1.0, 0.5, 2.0, 1 << 20))
        world.links[rank].send(Loaded(rank, f"h/{rank}"))
    assert {rank: said.device for rank, said in world.leader.await_all(Loaded).items()} == {1: "h/1", 2: "h/2"}
    assert world.leader.pulses[2].wait_s == 0.5
    assert world.leader.alive == {1: True, 2: True}


def test_strangers_are_not_admitted(apart: World) -> None:
    said = [
        encode(Joining("guess", 1, 1)),
        encode(Joining(SECRET, 7, 1)),
        encode(Stop())[:-1] + b"\xff",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        struct.pack("!I", 1 << 30),
        encode(Failed(1, "x" * 5000)),
    ]
    strangers = [socket.create_connection(("127.0.0.1", apart.port), timeout=WAIT_S) for _ in said]
    for stranger, words in zip(strangers, said, strict=True):
        stranger.sendall(words)
    apart.links |= {rank: apart.join(rank) for rank in (1, 2)}
    apart.leader.accept(WAIT_S)
    second = apart.join(1)  # who has the secret, but not a rank of its own
    assert second.receive() is None
    second.close()
    for stranger in strangers:
        with stranger:
            assert _ended(stranger)
    assert not apart.lost
    apart.leader.send(Stop())
    assert apart.heard(1) == Stop()


def _ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_rank_that_never_connects_is_named(apart: World) -> None:
    apart.links[1] = apart.join(1)
    with pytest.raises(
        PdpanelError, match=r"Rank 2 \(pid 102 on node 1, gpu2\) did not connect for orders within 0\.2"
    ):
        apart.leader.accept(0.2)


def test_a_connection_that_ends_names_the_rank(world: World) -> None:
    world.links[1].close()
    rank, reason = world.wait_lost()
    assert (rank, reason) == (1, "Rank 1 (pid 101 on node 0) is gone: its connection ended.")
    assert world.leader.gone(0.0) == reason
    assert world.leader.alive == {1: False, 2: True}
    with pytest.raises(PdpanelError, match="Rank 1"):
        world.leader.await_all(Loaded)


def test_a_node_tells_how_its_rank_ended(world: World) -> None:
    tell_end(f"127.0.0.1 {world.port} guess", 2, "was ended by a guess.")
    tell_end(f"127.0.0.1 {world.port} {SECRET}", 2, "was ended by SIGKILL.")
    world.links[2].close()
    assert world.wait_lost() == (2, "Rank 2 (pid 102 on node 1, gpu2) was ended by SIGKILL.")


def test_a_rank_that_failed_says_why(world: World) -> None:
    world.links[2].send(Failed(2, "the disk is full."))
    world.links[2].close()
    assert world.wait_lost() == (2, "Rank 2 (pid 102 on node 1, gpu2) failed: the disk is full.")


def test_an_order_to_a_rank_that_is_gone_names_it(world: World) -> None:
    world.links[2].close()
    deadline = time.monotonic() + WAIT_S
    with pytest.raises(RankError, match=r"Rank 2 \(pid 102"):
        while time.monotonic() < deadline:
            world.leader.send(Move(0, 0, 1, 1))


def test_a_rank_that_breaks_the_protocol_is_gone(world: World) -> None:
    world.links[1].send_bytes(struct.pack("!I", 3) + b"\xc1\xc1\xc1")
    assert "sent what is no report" in world.wait_lost()[1]


def test_a_silent_rank_is_gone(world: World) -> None:
    world.leader.watch_silence(0.4)
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.02):
            world.links[1].send(Pulse(1, 0, 0, 0, 0))

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        assert world.wait_lost() == (2, "Rank 2 (pid 102 on node 1, gpu2) has said nothing for 0.4 s.")
    finally:
        ended.set()
        beating.join()


def test_without_a_dropped_rank_orders_go_to_the_others(world: World) -> None:
    world.links[2].close()
    world.wait_lost()
    world.leader.drop(2)
    assert world.leader.gone(0.0) == ""
    world.leader.send(Stop())
    assert world.heard(1) == Stop()
    assert world.leader.alive == {1: True, 2: False}


def test_an_end_that_nobody_asked_for_says_why(world: World) -> None:
    world.leader.stop("Rank 2 is gone.")
    assert world.heard(1) == Stop("Rank 2 is gone.")


def test_the_end_is_nobodys_loss(world: World) -> None:
    world.leader.tell(Serve())
    world.leader.stop()
    assert [world.heard(1), world.heard(1)] == [Serve(), Stop()]
    assert world.links[1].receive() is None
    assert not world.lost


@given(st.binary(max_size=200))
def test_bytes_of_anybody_are_a_message_or_an_error(body: bytes) -> None:
    for decode in (decode_up, decode_down):
        taken: Any = None
        try:
            taken = decode(body)
        except RemoteProtocolError as error:
            assert str(error).endswith(".") or str(error).endswith(").")
        if taken is not None:
            assert decode(encode(taken)[4:]) == taken
