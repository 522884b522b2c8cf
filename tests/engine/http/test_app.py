"""The layers that every request passes, and garbage on the socket."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from pdpanel.engine.http.body import MAX_BODY_BYTES

if TYPE_CHECKING:
    from .conftest import Ask, FakeEngine, MakeEngine

JSON = {"headers": {"Content-Type": "application/json"}}
PROMPT = {"text": "Hi"}
TOO_LARGE = b'{"text": "%s"}' % (b"a" * MAX_BODY_BYTES)
TOO_MANY_DIGITS = b'{"text": %s}' % (b"1" * 5000)


def test_an_unknown_route_names_the_known_ones(engine: FakeEngine, ask: Ask) -> None:
    for reply in (ask(engine, "/v1/embeddings", {"input": "x"}), ask(engine, "/nowhere")):
        assert (reply.status, reply.error["type"]) == (404, "not_found_error")
        assert "/v1/chat/completions" in reply.error["message"]


def test_a_wrong_method_names_the_right_one(engine: FakeEngine, ask: Ask) -> None:
    reply = ask(engine, "/generate")
    assert (reply.status, reply.headers["Allow"], reply.error["param"]) == (405, "POST", "method")
    assert ask(engine, "/health", {}).status == 405


@pytest.mark.parametrize(
    ("raw", "status", "says"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"text=hi", 400, "not JSON"),
        (b'{"text": "a"} x', 400, "not JSON"),
        (b"[]", 400, "a JSON array, not an object"),
        (b'"hi"', 400, "a JSON string, not an object"),
        (b"null", 400, "a JSON null, not an object"),
        (b"7", 400, "a JSON number, not an object"),
        (b"true", 400, "a JSON boolean, not an object"),
        (b'{"text": "\xff"}', 400, "byte 10 is not UTF-8"),
        (b'\xef\xbb\xbf{"text": "a"}', 400, "not JSON"),
        (b'{"text": "a", "text": "b"}', 400, "text = 'b': the field is given twice; send it once."),
        (b'{"text": "\\ud800"}', 400, "lone surrogate"),
        (b'{"text": NaN}', 400, "not a number of JSON"),
        (b'{"sampling_params": {"temperature": Infinity}}', 400, "not a number of JSON"),
        (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", 400, "nested deeper than 64 levels"),
        (b'{"a": ' * 100_000 + b"1" + b"}" * 100_000, 400, "nested deeper than 64 levels"),
        (TOO_MANY_DIGITS, 400, "a number in it is too long"),
        (TOO_LARGE, 413, f"send at most {MAX_BODY_BYTES} bytes"),
    ],
    ids=range(19),
)
@pytest.mark.parametrize("path", ["/generate", "/v1/chat/completions", "/abort_request"])
def test_a_bad_body_gets_one_sentence(
    engine: FakeEngine, ask: Ask, path: str, raw: bytes, status: int, says: str
) -> None:
    reply = ask(engine, path, data=io.BytesIO(raw) if len(raw) > 1000 else raw, **JSON)
    assert reply.status == status
    message = reply.error["message"]
    assert says in message
    assert message.endswith(".")
    assert "\n" not in message
    assert len(message) < 400
    assert not engine.requests


def test_a_compressed_body_is_read_within_the_same_bound(
    engine: FakeEngine, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    packed = {"headers": {"Content-Type": "application/json", "Content-Encoding": "gzip"}}
    assert ask(engine, "/generate", data=gzip.compress(json.dumps(PROMPT).encode()), **packed).status == 200
    bomb = gzip.compress(TOO_LARGE)
    assert ask(engine, "/generate", data=bomb, **packed).status == 413
    caplog.set_level(logging.INFO)
    assert ask(engine, "/generate", data=b"not gzip", **packed).status == 400
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_foreign_requests_are_refused_everywhere(
    engine: FakeEngine, ask: Ask, headers: dict[str, str], status: int
) -> None:
    for path in ("/generate", "/flush_cache", "/abort_request", "/v1/completions"):
        body = json.dumps(PROMPT).encode()
        reply = ask(engine, path, data=body, headers={"Content-Type": "application/json", **headers})
        assert (reply.status, reply.error["code"]) == (status, status)
    if status != 415:
        assert ask(engine, "/server_info", headers=headers).status == status
    assert not engine.requests
    assert not engine.aborts


def test_two_hosts_are_none_of_ours(engine: FakeEngine, serving: Any) -> None:
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    first_line = asyncio.run(_raw(engine, serving, request)).split(b"\r\n")[0]
    assert b" 4" in first_line


@pytest.mark.parametrize(
    ("keys", "path", "key", "status"),
    [
        ({"api_key": "k"}, "/server_info", "", 401),
        ({"api_key": "k"}, "/server_info", "wrong", 401),
        ({"api_key": "k"}, "/server_info", "k", 200),
        ({"api_key": "k"}, "/health", "", 200),
        ({"api_key": "k"}, "/metrics", "", 200),
        ({"api_key": "k"}, "/nowhere", "", 401),
        ({"admin_api_key": "a"}, "/server_info", "", 200),
        ({"api_key": "schlüssel"}, "/server_info", "wrong", 401),
    ],
)
def test_keys_for_reading(
    make_engine: MakeEngine, ask: Ask, keys: dict[str, str], path: str, key: str, status: int
) -> None:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    reply = ask(make_engine(**keys), path, headers=headers)
    assert reply.status == status
    if status == 401:
        assert reply.headers["WWW-Authenticate"] == "Bearer"
        assert reply.error["type"] == "authentication_error"


@pytest.mark.parametrize(
    ("keys", "key", "status"),
    [
        ({}, "", 200),
        ({"api_key": "k"}, "", 401),
        ({"api_key": "k"}, "k", 200),
        ({"admin_api_key": "a"}, "", 401),
        ({"admin_api_key": "a"}, "a", 200),
        ({"api_key": "k", "admin_api_key": "a"}, "k", 401),
        ({"api_key": "k", "admin_api_key": "a"}, "a", 200),
    ],
)
def test_keys_for_changing(make_engine: MakeEngine, ask: Ask, keys: dict[str, str], key: str, status: int) -> None:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    engine = make_engine(**keys)
    assert ask(engine, "/flush_cache", {}, headers=headers).status == status
    assert ask(engine, "/abort_request", {"abort_all": True}, headers=headers).status == status
    assert engine.aborts == ([""] if status == 200 else [])


async def _raw(engine: FakeEngine, serving: Any, *chunks: bytes) -> bytes:
    async with serving(engine) as (session, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
        try:
            answer = await asyncio.wait_for(reader.read(), 10)
        except ConnectionResetError:
            answer = b""
        writer.close()
        async with session.get("/health") as response:
            assert response.status == 200
        return answer


@pytest.mark.parametrize(
    "garbage",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"\r\n\r\n\r\nnonsense\r\n\r\n",
        b"GET /health HTTP/9.9\r\n\r\n",
        b"GET /health\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: -4\r\n\r\n",
        b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=range(10),
)
def test_garbage_on_the_socket_leaves_no_traceback(
    engine: FakeEngine, serving: Any, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    answer = asyncio.run(_raw(engine, serving, garbage))
    assert not answer or answer.startswith(b"HTTP/")
    assert b"Traceback" not in answer
    assert b" 500 " not in answer.split(b"\r\n")[0]
    assert [record.getMessage() for record in caplog.records] == []


def test_a_body_that_stops_short_is_no_error_of_ours(
    engine: FakeEngine, serving: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with serving(engine) as (session, port):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            head = "POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: 100\r\n\r\n{{".encode())
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            async with session.get("/health") as response:
                assert response.status == 200

    caplog.set_level(logging.INFO)
    asyncio.run(main())
    assert [record.getMessage() for record in caplog.records] == []
    assert not engine.requests
