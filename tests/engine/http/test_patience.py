"""Slow clients are cut, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import ClientSession, web
from pdpanel.engine.http.patience import Limits, patient_runner

SHORT = 0.2
QUICK = Limits(SHORT, SHORT, SHORT, SHORT, look_s=0.02)
DEADLINE_S = 20.0

Scenario = Callable[["Server"], Awaitable[None]]


class Server:
    """A server with short patience; `cancelled` is set when the client of /big has gone."""

    def __init__(self) -> None:
        self.port = 0
        self.cancelled = asyncio.Event()

    async def echo(self, request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def think(self, request: web.Request) -> web.Response:
        await asyncio.sleep(3 * SHORT)
        return web.Response(text="thought")

    async def big(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        try:
            while True:
                await answer.write(bytes(1 << 20))
        finally:
            self.cancelled.set()

    async def talk(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket


def run(scenario: Scenario) -> None:
    async def play() -> None:
        server = Server()
        app = web.Application()
        app.router.add_post("/echo", server.echo)
        app.router.add_get("/think", server.think)
        app.router.add_get("/big", server.big)
        app.router.add_get("/talk", server.talk)
        runner = patient_runner(app, QUICK, handler_cancellation=True, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.port = runner.addresses[0][1]
        try:
            async with asyncio.timeout(DEADLINE_S):
                await scenario(server)
        finally:
            await runner.cleanup()

    asyncio.run(play())


async def drip(server: Server, start: bytes, piece: bytes) -> bytes:
    """Sends `piece` again and again; returns what was answered when the connection ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(start)
    reading = asyncio.create_task(reader.read())
    while not reading.done():
        writer.write(piece)
        await asyncio.wait([reading], timeout=SHORT / 10)
    writer.close()
    try:
        return reading.result()
    except ConnectionError:
        return b""


def test_a_connection_without_a_request_is_cut() -> None:
    async def scenario(server: Server) -> None:
        assert await drip(server, b"", b"") == b""

    run(scenario)


def test_headers_byte_by_byte_are_cut() -> None:
    async def scenario(server: Server) -> None:
        assert await drip(server, b"POST /echo HTTP/1.1\r\nHost: x\r\nX: ", b"a") == b""

    run(scenario)


def test_a_body_byte_by_byte_is_cut() -> None:
    async def scenario(server: Server) -> None:
        assert await drip(server, b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n", b"a") == b""
        chunked = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert await drip(server, chunked, b"1\r\na\r\n") == b""

    run(scenario)


def test_a_client_that_reads_nothing_is_cut_and_its_work_ends() -> None:
    async def scenario(server: Server) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
        writer.write(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        await server.cancelled.wait()
        writer.close()

    run(scenario)


def test_who_waits_long_for_an_answer_or_asks_now_and_then_stays() -> None:
    async def scenario(server: Server) -> None:
        url = f"http://127.0.0.1:{server.port}"
        async with ClientSession() as session:
            async with session.get(f"{url}/think") as answer:
                assert await answer.text() == "thought"
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            for _ in range(6):
                writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi")
                assert (await reader.readuntil(b"\r\n\r\nhi")).startswith(b"HTTP/1.1 200")
                await asyncio.sleep(SHORT / 2)
            writer.close()
            async with session.ws_connect(f"{url}/talk") as socket:
                await asyncio.sleep(3 * SHORT)
                await socket.send_str("still there")
                assert await socket.receive_str() == "still there"

    run(scenario)
