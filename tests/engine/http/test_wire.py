"""Requests that lie about their length or flood the worker: refused early, and the next one is served."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from pdpanel.engine.http.body import MAX_BODY_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .conftest import FakeEngine

HEAD = b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = b'{"text": "Hi"}'
MEGABYTE = b"a" * 2**20


async def talk(engine: FakeEngine, serving: Any, chunks: Iterable[bytes]) -> tuple[bytes, int]:
    """Returns the answer to raw bytes and how many bytes the server let us send before it answered or hung up."""
    sent = 0
    async with serving(engine) as (session, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def send() -> None:
            nonlocal sent
            for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
                sent += len(chunk)

        sending = asyncio.create_task(send())
        try:
            async with asyncio.timeout(30):
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                answer = head + await reader.readexactly(length)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            answer = error.partial if isinstance(error, asyncio.IncompleteReadError) else b""
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            writer.close()
        async with session.post("/generate", json={"text": "Hi"}) as response:
            assert response.status == 200
    return answer, sent


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_a_body_that_is_announced_too_large_is_not_read(engine: FakeEngine, serving: Any) -> None:
    answer, _ = asyncio.run(talk(engine, serving, [HEAD + b"Content-Length: 104857600\r\n\r\n"]))
    assert status_of(answer) == 413
    assert f"send at most {MAX_BODY_BYTES} bytes".encode() in answer


def test_chunks_without_end_are_cut_off(engine: FakeEngine, serving: Any) -> None:
    def chunks() -> Iterable[bytes]:
        yield HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        for _ in range(100):
            yield b"100000\r\n" + MEGABYTE + b"\r\n"

    answer, sent = asyncio.run(talk(engine, serving, chunks()))
    assert status_of(answer) == 413
    assert sent < 100 * 2**20


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (b"Content-Length: 5\r\n", BODY),
        (b"Content-Length: 14\r\nContent-Length: 15\r\n", BODY),
        (b"Content-Length: +14\r\n", BODY),
        (b"Content-Length: 0x0e\r\n", BODY),
        (b"Content-Length: 99999999999999999999999\r\n", BODY),
        (b"Content-Length: 14\r\nTransfer-Encoding: chunked\r\n", b"e\r\n" + BODY + b"\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked, chunked\r\n", b"e\r\n" + BODY + b"\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked, identity\r\n", b"e\r\n" + BODY + b"\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: xchunked\r\n", b"e\r\n" + BODY + b"\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"-1\r\n" + BODY + b"\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"fffffffffffffffff\r\n" + BODY),
        (b"Content-Length : 14\r\n", BODY),
        (b" Content-Length: 14\r\n", BODY),
        (b"Content-Length: 14\r\nX-A: a\x00b\r\n", BODY),
        (b"Content-Length: 14\r\n" + b"X-A: b\r\n" * 20_000, BODY),
        (b"Content-Length: 14\r\nX-A: " + b"b" * 100_000 + b"\r\n", BODY),
        (b"Content-Length: 14\r\nContent-Encoding: bzip9\r\n", BODY),
    ],
    ids=range(17),
)
def test_what_is_framed_wrongly_is_refused(
    engine: FakeEngine, serving: Any, headers: bytes, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    answer, _ = asyncio.run(talk(engine, serving, [HEAD + headers + b"\r\n" + body]))
    assert answer == b"" or 400 <= status_of(answer) < 500, answer
    assert len(engine.requests) == 1  # the one that came after it
    assert b"Traceback" not in answer
    assert [record.getMessage() for record in caplog.records] == []


def test_a_second_request_is_not_smuggled_in_the_body_of_the_first(engine: FakeEngine, serving: Any) -> None:
    smuggled = HEAD + b"Content-Length: 14\r\n\r\n" + BODY
    first = HEAD + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(smuggled) + smuggled
    answer, _ = asyncio.run(talk(engine, serving, [first]))
    assert status_of(answer) == 400
    assert len(engine.requests) == 1
