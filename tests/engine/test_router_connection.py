"""What a connection to a worker makes of the bytes that come back, in whatever parts they do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.router.connection import WorkerConnection

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
LENGTH = OK + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"


class Wire(asyncio.Transport):
    """What was written, and what was done to the connection."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.aborted = False
        self.paused = False

    def write(self, data: Any) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False


class Heard:
    """What a listener was told, in order."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.body = b""
        self.parts = 0
        self.end = ""

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        assert not self.status and not self.end
        self.status, self.headers = status, headers

    def received(self, data: bytes) -> None:
        assert self.status and not self.end and data
        self.body += data
        self.parts += 1

    def ended(self) -> None:
        assert self.status and not self.end
        self.end = "ended"

    def broke(self, reason: str) -> None:
        assert not self.end
        self.end = f"broke: {reason}"


class Line:
    """A connection with one request under way."""

    def __init__(self) -> None:
        self.free: list[WorkerConnection] = []
        self.lost: list[WorkerConnection] = []
        self.wire = Wire()
        self.connection = WorkerConnection(self.free.append, self.lost.append)
        self.connection.connection_made(self.wire)
        self.heard = self.ask()

    def ask(self) -> Heard:
        self.heard = Heard()
        self.connection.send(b"POST", self.heard)
        return self.heard

    def feed(self, data: bytes, sizes: list[int] | None = None) -> Heard:
        for size in sizes or []:
            if data[:size] and self.connection.is_open:
                self.connection.data_received(data[:size])
            data = data[size:]
        if data and self.connection.is_open:
            self.connection.data_received(data)
        return self.heard


@given(st.sampled_from([LENGTH, CHUNKED]), st.lists(st.integers(1, 30), max_size=60))
def test_any_segments_give_the_same_answer_and_a_free_connection(answer: bytes, sizes: list[int]) -> None:
    line = Line()
    for _ in range(2):
        heard = line.feed(answer, sizes)
        assert (heard.status, heard.body, heard.end) == (200, b"hello", "ended")
        assert heard.headers["content-type"] == "text/plain"
        assert line.connection.is_open and line.free.pop() is line.connection and not line.free
        line.ask()
    assert line.wire.written == b"POST" * 3


def test_chunks_that_come_together_are_handed_on_together() -> None:
    assert Line().feed(CHUNKED).parts == 1


@pytest.mark.parametrize(
    "answer",
    [
        LENGTH + b"more",
        LENGTH + LENGTH,
        LENGTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        LENGTH.replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
def test_a_connection_with_more_on_it_or_that_will_close_is_not_used_again(answer: bytes) -> None:
    line = Line()
    heard = line.feed(answer)
    assert (heard.body, heard.end) == (b"hello", "ended")
    assert not line.free and not line.connection.is_open and line.wire.aborted


def test_an_interim_answer_is_skipped() -> None:
    heard = Line().feed(b"HTTP/1.1 100 Continue\r\nX-A: 1\r\n\r\n" + LENGTH)
    assert (heard.status, heard.body, heard.end) == (200, b"hello", "ended")
    assert "x-a" not in heard.headers


def test_the_end_of_the_connection_ends_a_body_without_a_length() -> None:
    line = Line()
    heard = line.feed(OK + b"\r\nhello")
    assert not heard.end
    line.connection.eof_received()
    assert (heard.body, heard.end) == (b"hello", "ended") and not line.free
    line.connection.connection_lost(None)
    assert line.lost == [line.connection]


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200", LENGTH[:-1], CHUNKED[:-1], CHUNKED[:-7]])
def test_an_answer_that_is_cut_off_is_told(sent: bytes) -> None:
    line = Line()
    heard = line.feed(sent)
    line.connection.eof_received()
    line.connection.connection_lost(None)
    assert heard.end == "broke: it closed the connection" and not line.free


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"SSH-2.0-OpenSSH_9.7\r\n\r\n", "not HTTP"),
        (CHUNKED.replace(b"3\r\nllo", b"zz\r\nllo"), "not HTTP"),
        (b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "not HTTP"),
        (OK + b"X-Long: " + b"a" * 70_000, "too long"),
    ],
)
def test_what_is_no_answer_breaks_the_connection(sent: bytes, said: str) -> None:
    line = Line()
    heard = line.feed(sent, [10_000] * 8)
    assert heard.end.startswith("broke: ") and said in heard.end
    assert line.wire.aborted and not line.connection.is_open


def test_what_nobody_asked_for_closes_it() -> None:
    line = Line()
    line.feed(LENGTH)
    line.connection.data_received(b"x")
    assert line.wire.aborted and not line.connection.is_open


def test_nobody_is_told_of_a_connection_that_was_closed_here() -> None:
    line = Line()
    heard = line.feed(CHUNKED[:-5])
    line.connection.close()
    line.connection.connection_lost(None)
    assert not heard.end and line.lost


def test_it_reads_again_for_the_next_request_when_it_was_paused_at_the_end() -> None:
    line = Line()
    line.feed(CHUNKED[:-5])
    line.connection.pause()
    line.connection.pause()
    assert line.wire.paused
    line.feed(CHUNKED[-5:])
    assert not line.wire.paused and line.free
