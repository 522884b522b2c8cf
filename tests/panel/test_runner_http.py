from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from pdpanel.panel.runner.http import Answer, KeptConnection, get

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[str]:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics"
    finally:
        server.close()


def says(*parts: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()

    return serve


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("parts", "body"),
    [
        ((OK, b"Content-Length: 3\r\n\r\nabc"), b"abc"),
        ((OK, b"\r\nuntil the end"), b"until the end"),
        ((OK, b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"), b"abcde"),
        ((OK, b"Content-Encoding: gzip\r\n\r\n", gzip.compress(b"zipped" * 50)), b"zipped" * 50),
        ((b"HTTP/1.0 503 No\r\n\r\nlater",), b"later"),
    ],
)
def test_bodies_of_all_kinds(parts: tuple[bytes, ...], body: bytes) -> None:
    async def ask() -> Answer | None:
        async with serving(says(*parts)) as url:
            return await get(url, 5.0)

    answer = asyncio.run(ask())
    assert answer is not None and answer.body == body


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((b"SSH-2.0-OpenSSH_9.6\r\n\r\n",), "does not begin as HTTP"),
        ((b"x" * 200_000,), "does not begin as HTTP"),
        ((OK, b"Content-Length: 99999999999\r\n\r\n"), "longer than 4 MiB"),
        ((OK, b"Content-Length: -5\r\n\r\n"), "does not begin as HTTP"),
        ((OK, b"Content-Length: 10\r\n\r\nabc"), "breaks off"),
        ((OK, b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"), "breaks off"),
        ((OK, b"Content-Encoding: gzip\r\n\r\nnot gzip"), "breaks off"),
        ((OK, b"Content-Encoding: gzip\r\n\r\n", gzip.compress(bytes(20 << 20))), "longer than 4 MiB"),
        ((OK, b"Content-Encoding: br\r\n\r\nx"), "encoded as br"),
        ((), "breaks off"),
    ],
)
def test_what_is_wrong_is_said_in_words(parts: tuple[bytes, ...], words: str) -> None:
    async def ask() -> Answer | str:
        async with serving(says(*parts)) as url:
            return await KeptConnection(url).get(5.0)

    answer = asyncio.run(ask())
    assert isinstance(answer, str) and words in answer


def test_an_endless_page_ends_here() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"\r\n")
        while True:
            writer.write(b"a_metric 1\n" * 10_000)
            await writer.drain()

    async def ask() -> Answer | str:
        async with serving(endless) as url:
            return await KeptConnection(url).get(30.0)

    assert asyncio.run(ask()) == "the answer is longer than 4 MiB"


def test_a_page_that_trickles_is_given_up() -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"\r\na_metric")
        await reader.read()

    async def ask() -> Answer | str:
        async with serving(trickle) as url:
            return await KeptConnection(url).get(0.05)

    assert asyncio.run(ask()) == "no whole answer within 0.05 s"


def test_one_connection_serves_many_questions_and_a_closed_one_is_opened_anew() -> None:
    opened: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(1)
        for _ in range(3):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK + b"Content-Length: 2\r\n\r\nhi")
            await writer.drain()

    async def ask() -> list[Answer | str]:
        async with serving(serve) as url:
            connection = KeptConnection(url)
            answers = [await connection.get(5.0) for _ in range(7)]
            connection.close()
            return answers

    assert asyncio.run(ask()) == [Answer(200, b"hi")] * 7
    assert len(opened) == 3


def test_nobody_there() -> None:
    async def ask() -> Answer | str:
        async with serving(says()) as url:
            pass
        return await KeptConnection(url).get(5.0)

    answer = asyncio.run(ask())
    assert isinstance(answer, str) and answer
    assert asyncio.run(get("http://[::1", 1.0)) is None
