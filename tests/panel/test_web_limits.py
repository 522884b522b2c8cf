"""Large and slow requests: bodies in the guard, heads in the server's protocol."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from asgi_client import Inner, ask
from pdpanel.panel.access.access import Access
from pdpanel.panel.web import limits
from pdpanel.panel.web.guard import Guard
from pdpanel.panel.web.limits import BodyLimit, body_limit_of
from pdpanel.panel.web.patient import HEAD_BYTES, PatientProtocol
from uvicorn.protocols.http.h11_impl import H11Protocol

ACCESS = Access.for_port(7860, "t0ken")
HEADERS = {"host": "127.0.0.1:7860", "authorization": "Bearer t0ken", "content-type": "application/json"}


def post(body: bytes | list[bytes], **headers: str) -> tuple[int, bytes]:
    inner = Inner()
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    heard = asyncio.run(ask(Guard(inner, ACCESS), inner, "/api/x", HEADERS | named, method="POST", body=body))
    return heard.status, inner.body


def test_length_that_is_too_much_is_refused_unread() -> None:
    assert post(b"{}", content_length=str(limits.MOST_JSON_BYTES + 1)) == (413, b"")
    assert post(b"{}", content_length="9" * 30) == (413, b"")
    assert post(b"{}", content_length="-1") == (413, b"")
    assert post(b"{}", content_length="2") == (200, b"{}")


def test_body_without_a_length_is_cut_off_where_it_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_JSON_BYTES", 10)
    assert post([b"12345", b"67890"]) == (200, b"1234567890")
    assert post([b"12345", b"67890", b"1"])[0] == 413


def test_files_may_be_larger() -> None:
    kinds = [[(b"content-type", kind)] for kind in (b"application/octet-stream", b"application/json")]
    assert [body_limit_of(headers) for headers in kinds] == [limits.MOST_FILE_BYTES, limits.MOST_JSON_BYTES]


def test_slow_body_ends_and_a_slow_answer_does_not() -> None:
    async def never() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def work() -> None:
        slow = BodyLimit(never, 10, timeout_s=0.01)
        assert (await slow())["type"] == "http.disconnect"
        assert slow.broken == 408
        messages = iter([{"type": "http.request", "body": b"{}", "more_body": False}])

        async def once() -> dict[str, Any]:
            if (message := next(messages, None)) is not None:
                return message
            await asyncio.sleep(0.05)
            return {"type": "http.disconnect"}

        whole = BodyLimit(once, 10, timeout_s=0.01)
        assert (await whole())["body"] == b"{}"
        assert (await whole())["type"] == "http.disconnect"
        assert whole.broken == 0

    asyncio.run(work())


class _Server(uvicorn.Server):
    up: asyncio.Event

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.up.set()


@contextlib.asynccontextmanager
async def serving(protocol: type[H11Protocol]) -> AsyncIterator[int]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await asyncio.sleep(0.6)
        await send({"type": "http.response.body", "body": b"in"})

    config = uvicorn.Config(
        app,
        port=0,
        http=protocol,
        ws="websockets-sansio",
        lifespan="off",
        log_level="critical",
        h11_max_incomplete_event_size=HEAD_BYTES,
    )
    server = _Server(config)
    server.up = asyncio.Event()
    task = asyncio.create_task(server.serve())
    await asyncio.wait_for(server.up.wait(), 20)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


async def _is_hung_up(port: int, said: bytes, wait_s: float) -> bool:
    """Returns True when the server closes within `wait_s`, without an answer, after `said`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(said)
        await writer.drain()
        async with asyncio.timeout(wait_s):
            return await reader.read(1) == b""
    except TimeoutError:
        return False
    finally:
        writer.close()


class _Hasty(PatientProtocol):
    head_timeout_s = 0.3


HALF_A_HEAD = b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "


@pytest.mark.parametrize(("protocol", "hung_up"), [(H11Protocol, False), (_Hasty, True)])
@pytest.mark.parametrize("said", [b"", HALF_A_HEAD], ids=["nothing", "half a head"])
def test_slow_head_is_hung_up_on(protocol: type[H11Protocol], hung_up: bool, said: bytes) -> None:
    async def work() -> None:
        async with serving(protocol) as port:
            assert await _is_hung_up(port, said, 20 if hung_up else 0.6) is hung_up

    asyncio.run(work())


def test_slow_answers_and_sockets_are_waited_for() -> None:
    async def work() -> None:
        async with serving(_Hasty) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await asyncio.wait_for(reader.readuntil(b"in"), 20)).startswith(b"HTTP/1.1 200")
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            assert b" 101 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.6):
                    await reader.read(1)
            writer.close()

    asyncio.run(work())


def test_head_without_end_is_refused() -> None:
    async def work() -> None:
        async with serving(PatientProtocol) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HALF_A_HEAD + b"x" * (2 * HEAD_BYTES))
            assert (await asyncio.wait_for(reader.readline(), 20)).startswith(b"HTTP/1.1 400")
            writer.close()

    asyncio.run(work())
