"""The bootstrap server's metadata over real sockets: who is served, and what passes from the stand-in to the worker."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import socket
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import ClientSession
from pdpanel.engine.errors import PdpanelError
from pdpanel.engine.peer.messages import Geometry, Hello
from pdpanel.engine.peer.metadata_store import MOST_VALUE_BYTES, MetadataStore
from pdpanel.engine.peer.server import PeerServer, topology
from pdpanel.engine.peer.stand_in import standing_in
from pdpanel.engine.transfer.api import EndpointInfo

HELLO = Hello(
    "prefill", "127.0.0.1:1", 1, Geometry("sha", "float32", 16, 1, 1, 4), EndpointInfo("tcp", "127.0.0.1:2", 0, 64)
)
KEY = "mooncake/ram/127.0.0.1-1f:30000"


class Nobody:
    """Hears nothing."""

    def peer_joined(self, peer: str, hello: Hello) -> None: ...

    def peer_said(self, peer: str, message: object) -> None: ...

    def peer_lost(self, peer: str, reason: str, unsent: object = ()) -> None: ...


def bound() -> socket.socket:
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    return made


def serving(scenario: Callable[[ClientSession, str], Awaitable[None]], **settings: object) -> None:
    async def play() -> None:
        listening = bound()
        server = PeerServer(HELLO, topology(HELLO, 1), Nobody(), **settings)  # type: ignore[arg-type]
        await server.start(listening)
        try:
            async with ClientSession() as session, asyncio.timeout(20):
                await scenario(session, f"http://127.0.0.1:{listening.getsockname()[1]}")
        finally:
            await server.stop()

    asyncio.run(play())


def test_an_engine_registers_and_is_found() -> None:
    async def scenario(session: ClientSession, url: str) -> None:
        place, value = {"key": KEY}, {"name": "a", "buffers": []}
        async with session.get(f"{url}/metadata", params=place) as answer:
            assert answer.status == 404 and await answer.text() == "metadata not found"
        async with session.put(f"{url}/metadata", params=place, json=value) as answer:
            assert (answer.status, answer.content_type) == (200, "application/json")
        async with session.get(f"{url}/metadata", params=place) as answer:
            assert await answer.json() == value
        async with session.delete(f"{url}/metadata", params=place) as answer:
            assert answer.status == 200
        async with session.post(f"{url}/metadata", params=place, json=value) as answer:
            assert answer.status == 405
        large = io.BytesIO(bytes(MOST_VALUE_BYTES + 1))
        async with session.put(f"{url}/metadata", params=place, data=large) as answer:
            assert answer.status == 413
        async with session.put(f"{url}/route", json={"attn_tp_size": 1}) as answer:
            assert answer.status == 405 and "registers no ranks" in await answer.text()

    serving(scenario)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.test"}, 421),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 403),
        ({"Sec-Fetch-Site": "none"}, 404),
        ({"Host": "mooncake.example.org"}, 404),
    ],
)
def test_pages_are_refused_and_given_names_are_served(headers: dict[str, str], status: int) -> None:
    async def scenario(session: ClientSession, url: str) -> None:
        async with session.get(f"{url}/metadata", params={"key": KEY}, headers=headers) as answer:
            assert answer.status == status
            assert not [name for name in answer.headers if name.lower().startswith("access-control")]

    serving(scenario, names=("mooncake.example.org",))


def ask(port: int, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body)
    answer = connection.getresponse()
    status, text = answer.status, answer.read()
    connection.close()
    return status, text


def test_the_stand_in_serves_until_the_worker_takes_over_what_it_holds() -> None:
    """A request that comes between the two waits in the backlog of the socket that both hold."""
    with bound() as listening:
        port = listening.getsockname()[1]
        with standing_in(listening, ["gpu1"]) as stand_in:
            assert ask(port, "PUT", f"/metadata?key={KEY}", '{"name": "a"}')[0] == 200
            assert ask(port, "GET", "/health")[0] == 503, "the worker is not there yet"
            store = stand_in.take_over()
            waiting = socket.create_connection(("127.0.0.1", port), timeout=20)
        assert store.entries() == {KEY: '{"name": "a"}'}

        async def go_on() -> bytes:
            server = PeerServer(HELLO, topology(HELLO, 1), Nobody(), metadata=store)
            await server.start(listening)
            request = f"GET /metadata?key={KEY} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
            reader, writer = await asyncio.open_connection(sock=waiting)
            writer.write(request.encode())
            answer = await asyncio.wait_for(reader.read(), 20)
            writer.close()
            await server.stop()
            return answer

        assert asyncio.run(go_on()).endswith(b'{"name": "a"}')


def test_a_stand_in_that_ended_is_an_error() -> None:
    with bound() as listening, standing_in(listening, []) as stand_in:
        stand_in.end()
        with pytest.raises(PdpanelError, match="/metadata"):
            stand_in.take_over()


def test_a_store_is_handed_on_as_json() -> None:
    store = MetadataStore({KEY: '{"name": "\u00e9"}'})
    assert MetadataStore(json.loads(json.dumps(store.entries()))).entries() == store.entries()
