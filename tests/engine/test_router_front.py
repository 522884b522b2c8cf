"""The short way for plain requests, and the way to aiohttp for everything else: clients see no difference."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pdpanel.engine.http.patience import Limits
from pdpanel.engine.router.client import Client
from pdpanel.engine.router.failure import Answer
from pdpanel.engine.router.front import FrontDoor, Reply
from pdpanel.engine.router.plain_client import PlainClient

from .router_stub import Call, Cluster, cluster, decode_script, eventually, run, until

BODY = json.dumps({"text": "hi", "stream": True}).encode()
WHOLE = json.dumps({"text": "hi"}).encode()
QUICK = Limits(first_request_s=0.03, next_request_s=0.03, body_s=0.03, unread_s=0.03, look_s=0.005)


def post(host: str, body: bytes = WHOLE, *lines: str, path: str = "/generate", version: str = "1.1") -> bytes:
    head = [f"POST {path} HTTP/{version}", f"Host: {host}", "Content-Type: application/json", *lines]
    if not any(line.lower().startswith("transfer-encoding") for line in lines):
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode() + body


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Reads one answer with a length or in chunks."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = b""
    if first.split()[1] == "100":
        return 100, headers, body
    if headers.get("transfer-encoding") == "chunked":
        chunks: list[bytes] = []
        while size := int(await reader.readline(), 16):
            chunks.append((await reader.readexactly(size + 2))[:-2])
        body = b"".join(chunks)
        await reader.readline()
    elif "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:
        body = await reader.read()
    return int(first.split()[1]), headers, body


@asynccontextmanager
async def wire(c: Cluster) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, str]]:
    """A connection to the router, and the Host for it."""
    host = c.url.removeprefix("http://")
    name, _, port = host.partition(":")
    reader, writer = await asyncio.open_connection(name, int(port))
    try:
        yield reader, writer, host
    finally:
        writer.close()


@pytest.mark.parametrize("path", ["/generate", "/generate?not=plain"])
@pytest.mark.parametrize("body", [WHOLE, BODY])
def test_both_ways_answer_alike_and_keep_the_connection(path: str, body: bytes) -> None:
    async def test() -> None:
        async with cluster() as c, wire(c) as (reader, writer, host):
            answers = []
            for route in ("/generate", path, "/generate"):
                writer.write(post(host, body, "x-request-id: mine", path=route))
                status, headers, answer = await read_answer(reader)
                answer = re.sub(rb'"room": \d+', b'"room"', answer)
                assert (status, headers["x-request-id"]) == (200, "mine") and "date" in headers
                answers.append((headers["content-type"].split(";")[0], answer))
            assert len(set(answers)) == 1
            assert (b"[DONE]" in answers[0][1]) is (body == BODY)

    run(test)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(1, 60), min_size=1, max_size=12))
def test_a_request_may_come_in_any_parts(sizes: list[int]) -> None:
    """Without a socket: each part is one call."""

    async def test() -> None:
        answered: list[bytes] = []
        front = made(answered).connect()
        wire_ = Pipe()
        front.connection_made(wire_)
        data = post("x", BODY)
        for size in sizes:
            if data:
                front.data_received(data[:size])
            data = data[size:]
        if data:
            front.data_received(data)
        await until(lambda: bool(wire_.written))
        assert answered == [BODY] and wire_.written.startswith(b"HTTP/1.1 200 OK\r\n")

    run(test)


class Pipe(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0


def made(answered: list[bytes], hand_over: Callable[[], asyncio.Protocol] = asyncio.Protocol, **more: Any) -> FrontDoor:
    """A door whose requests are answered with their bodies."""

    async def serve(client: Client) -> Reply:
        answered.append(await client.body())
        return Answer(200, answered[-1]), "id"

    return FrontDoor(serve, lambda path, header: None, hand_over, 1000, **more)


@pytest.mark.parametrize(
    "sent",
    [
        post("x", b"2\r\n{}\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
        post("x", WHOLE, "Expect: 100-continue"),
        post("x", WHOLE, "Content-Encoding: gzip"),
        post("x", WHOLE, "Connection: Upgrade", "Upgrade: websocket"),
        post("x", WHOLE, version="1.0"),
        post("x", WHOLE, path="/generate?a=1"),
        post("x", WHOLE, path="/flush_cache"),
        post("x", WHOLE, "Content-Length: 3"),
        post("x", WHOLE, "No colon"),
        post("x", WHOLE, "X-Long: " + "a" * 9000),
        post("x", b"a" * 1001),
        post("x") + post("x"),
        post("x").replace(b"Content-Length", b"Content-Size"),
        post("x").replace(b"POST", b"post"),
        b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01",
    ],
)
def test_what_is_not_plain_is_handed_over_byte_for_byte(sent: bytes) -> None:
    class Other(asyncio.Protocol):
        got = b""
        on: object = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.on = transport

        def data_received(self, data: bytes) -> None:
            self.got += data

    class Switched(Pipe):
        protocol: object = None

        def set_protocol(self, protocol: Any) -> None:
            self.protocol = protocol

    async def test() -> None:
        answered: list[bytes] = []
        other, pipe = Other(), Switched()
        door = made(answered, lambda: other)
        front = door.connect()
        front.connection_made(pipe)
        front.data_received(sent)
        await asyncio.sleep(0)
        assert (other.got, other.on, pipe.protocol) == (sent, pipe, other)
        assert not answered and not pipe.written and not door.connections

    run(test)


@pytest.mark.parametrize(
    ("lines", "body", "status"),
    [
        (("Expect: 100-continue",), WHOLE, 200),
        (("Transfer-Encoding: chunked",), b"d\r\n" + WHOLE[:13] + b"\r\n%x\r\n" % (len(WHOLE) - 13), 200),
        ((), b"{" + b" " * 3000 + b"}", 413),
        ((), b"[1]", 400),
        (("Content-Length: 7",), WHOLE, 400),
        (("Host: other",), WHOLE, 400),
        (("Origin: http://evil.example",), WHOLE, 403),
        (("Content-Type: text/plain",), WHOLE, 415),
    ],
)
def test_unusual_requests_are_answered_through_the_same_port(lines: tuple[str, ...], body: bytes, status: int) -> None:
    async def test() -> None:
        async with cluster(max_payload_bytes=2000) as c, wire(c) as (reader, writer, host):
            if "chunked" in str(lines):
                body_ = body + WHOLE[13:] + b"\r\n0\r\n\r\n"
            else:
                body_ = body
            writer.write(post(host, body_, *lines))
            found, _, answer = await read_answer(reader)
            if found == 100:
                found, _, answer = await read_answer(reader)
            assert found in {status, 421} if lines[:1] == ("Host: other",) else found == status, answer

    run(test)


def test_a_request_that_comes_while_one_is_under_way_waits_for_its_answer() -> None:
    gate = asyncio.Event()

    async def gated(call: Call) -> web.StreamResponse:
        await gate.wait()
        return await decode_script(call)

    async def test() -> None:
        async with cluster(decode=[gated]) as c, wire(c) as (reader, writer, host):
            for number in range(3):
                writer.write(post(host, BODY, f"x-request-id: r{number}"))
                if not number:
                    await until(lambda: len(c.decode.calls) == 1)
            gate.set()
            for number in range(3):
                status, headers, body = await read_answer(reader)
                assert (status, headers["x-request-id"]) == (200, f"r{number}") and body.endswith(b"[DONE]\n\n")

    run(test)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_the_connection_is_closed_when_the_client_wants_that(version: str) -> None:
    async def test() -> None:
        async with cluster() as c, wire(c) as (reader, writer, host):
            lines = ["Connection: close"] if version == "1.1" else []
            writer.write(post(host, BODY, *lines, version=version))
            status, headers, body = await read_answer(reader)
            assert status == 200 and headers["connection"] == "close" and body.endswith(b"data: [DONE]\n\n")
            assert ("transfer-encoding" in headers) is (version == "1.1")
            assert not await reader.read()

    run(test)


@pytest.mark.parametrize("path", ["/generate", "/generate?not=plain"])
def test_a_client_that_reads_slowly_slows_its_worker_down(path: str) -> None:
    """Nothing piles up in the router: the worker has to wait, and the client gets everything in the end."""
    sent = 0
    text = "a" * 100_000

    async def much(call: Call) -> web.StreamResponse:
        nonlocal sent
        for number in range(1, 401):
            await call.event(number, {"text": text})
            sent = number
        return await call.done()

    async def test() -> None:
        async with cluster(decode=[much]) as c, wire(c) as (reader, writer, host):
            writer.write(post(host, BODY, path=path))
            await until(lambda: sent > 3)
            before = -1

            async def stands() -> bool:
                nonlocal before
                same, before = sent == before, sent
                await asyncio.sleep(0.05)
                return same

            await eventually(stands)
            assert sent < 400
            _, _, body = await read_answer(reader)
            assert body.count(b"data: ") == 401 and sent == 400

    run(test)


@pytest.mark.parametrize("sent", [b"", b"POST /gen", post("x")[:-4], b"POST /generate HTTP/1.1\r\nHost"])
def test_a_client_that_is_slow_on_purpose_is_cut(sent: bytes) -> None:
    async def test() -> None:
        door = made([], limits=QUICK)
        server = await asyncio.get_running_loop().create_server(door.connect, "127.0.0.1", 0)
        watching = asyncio.create_task(door.watch())
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(sent)
        with pytest.raises(ConnectionError):
            assert await reader.read() == b""
            raise ConnectionError
        assert not door.connections
        watching.cancel()
        writer.close()
        server.close()

    run(test)


def test_one_that_is_at_work_is_not_cut_and_one_that_does_not_read_is() -> None:
    async def test() -> None:
        door, pipe = made([], limits=QUICK), Pipe()
        front = door.connect()
        front.connection_made(pipe)
        assert not front.is_over(0.0, QUICK)

        async def never(client: Client) -> Reply:
            await asyncio.Event().wait()
            raise AssertionError

        door.serve = never
        front.data_received(post("x"))
        far = asyncio.get_running_loop().time() + 1e6
        assert not front.is_over(far, QUICK)
        pipe.get_write_buffer_size = lambda: 10  # type: ignore[method-assign]
        assert not front.is_over(far, QUICK)
        assert front.is_over(far + 1, QUICK)
        front.connection_lost(None)

    run(test)


def test_headers_that_come_twice_are_joined_so_that_no_check_accepts_them() -> None:
    class Nothing:
        transport: asyncio.Transport | None = None
        is_full = False

        async def drained(self) -> None:
            return

    client = PlainClient(Nothing(), "/generate")
    for value in (b"a", b"b"):
        client.on_header(b"Host", value)
    assert client.header("host") == "a, b" and client.header("origin") == ""
