"""Connections to workers are used again while they are young, and closed when nobody needs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from pdpanel.engine.router import pool as pool_module
from pdpanel.engine.router.pool import Pool

from .router_stub import run, until

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Waiting:
    """A listener that waits for the end."""

    def __init__(self) -> None:
        self.end: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        pass

    def received(self, data: bytes) -> None:
        pass

    def ended(self) -> None:
        self.end.set_result("ended")

    def broke(self, reason: str) -> None:
        self.end.set_result(reason)


class Server:
    """Answers everything, and knows the connections that it has."""

    def __init__(self) -> None:
        self.open = 0
        self.ever = 0
        self.url = ""
        self.leaves = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.ever += 1
        try:
            while await reader.read(1000):
                writer.write(ANSWER)
                if self.leaves:
                    return
        except ConnectionError:
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Server, Pool]]:
    made, pool = Server(), Pool()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made, pool
    finally:
        pool.close()
        server.close()
        await until(lambda: made.open == 0)


async def ask(pool: Pool, url: str) -> str:
    connection, waiting = pool.take(url) or await pool.connect(url), Waiting()
    connection.send(b"GET / HTTP/1.1\r\n\r\n", waiting)
    return await waiting.end


def test_a_connection_is_used_again_one_after_the_other_and_others_are_opened_beside_it() -> None:
    async def test() -> None:
        async with serving() as (server, pool):
            for _ in range(3):
                assert await ask(pool, server.url) == "ended"
            assert server.ever == 1
            assert await asyncio.gather(*(ask(pool, server.url) for _ in range(3))) == ["ended"] * 3
            assert server.ever == 3
            assert pool.take("http://127.0.0.1:9") is None

    run(test)


def test_one_that_nobody_needed_for_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_KEPT_S", 0.02)

    async def test() -> None:
        async with serving() as (server, pool):
            await asyncio.gather(*(ask(pool, server.url) for _ in range(3)))
            await until(lambda: server.open == 0)
            assert pool.take(server.url) is None
            assert await ask(pool, server.url) == "ended"

    run(test)


def test_one_that_the_worker_closed_is_not_taken() -> None:
    async def test() -> None:
        async with serving() as (server, pool):
            server.leaves = True
            connection = await pool.connect(server.url)
            waiting = Waiting()
            connection.send(b"GET / HTTP/1.1\r\n\r\n", waiting)
            assert await waiting.end == "ended"
            await until(lambda: not connection.is_open)
            assert pool.take(server.url) is None

    run(test)


def test_a_worker_that_is_not_there_is_told_and_a_closed_pool_keeps_nothing() -> None:
    async def test() -> None:
        async with serving() as (server, pool):
            with pytest.raises(OSError):
                await pool.connect("http://127.0.0.1:9")
            connection, waiting = await pool.connect(server.url), Waiting()
            connection.send(b"GET / HTTP/1.1\r\n\r\n", waiting)
            pool.close()
            assert not connection.is_open and not waiting.end.done()

    run(test)


def test_a_worker_that_answers_has_a_connection_waiting_for_the_first_request() -> None:
    async def test() -> None:
        async with serving() as (server, pool):
            for _ in range(3):
                pool.warm(server.url)
            await until(lambda: server.ever == 1 and server.open == 1)
            await asyncio.sleep(0)
            pool.warm(server.url)
            assert await ask(pool, server.url) == "ended"
            assert server.ever == 1
            pool.warm("http://127.0.0.1:9")

    run(test)
