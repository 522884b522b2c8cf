"""The channel over real sockets on 127.0.0.1: hellos, order, refusals, lost peers, and what strangers get."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket

import aiohttp
import msgspec
import pytest
from pdpanel.engine.peer import channel as channel_module
from pdpanel.engine.peer import client as client_module
from pdpanel.engine.peer import silence as silence_module
from pdpanel.engine.peer.channel import MAX_MESSAGE_BYTES
from pdpanel.engine.peer.messages import (
    Abort,
    Ack,
    Drained,
    Grant,
    Ping,
    Refused,
    decode_message,
    encode_message,
)
from peer_pair import DEADLINE_S, DECODE, GEOMETRY, PREFILL, Pair, run


def test_both_sides_meet_and_messages_keep_their_order() -> None:
    async def scenario(pair: Pair) -> None:
        server = await pair.serve()
        client, decode = await pair.join()
        for room in range(500):
            client.send(pair.address, Grant(room, ((0, 1),), 5, 9.5))
        await pair.prefill.until(lambda heard: len(heard.said) == 500)
        assert [message for _, message in pair.prefill.said] == [Grant(room, ((0, 1),), 5, 9.5) for room in range(500)]
        for room in range(500):
            server.send(DECODE.address, Drained(room))
        await decode.until(lambda heard: len(heard.said) == 500)
        assert [message for _, message in decode.said] == [Drained(room) for room in range(500)]
        assert {peer for peer, _ in decode.said} == {pair.address}
        assert {peer for peer, _ in pair.prefill.said} == {DECODE.address}
        assert pair.prefill.joined == [(DECODE.address, DECODE)], "one connection for all rooms"
        assert decode.joined == [(pair.address, PREFILL)]
        assert not decode.lost and not pair.prefill.lost

    run(scenario)


def test_a_worker_that_does_not_fit_is_refused_with_the_field() -> None:
    async def scenario(pair: Pair) -> None:
        await pair.serve()
        other = msgspec.structs.replace(GEOMETRY, page_size=32)
        client, decode = await pair.join(msgspec.structs.replace(DECODE, geometry=other))
        client.send(pair.address, Ack(1, True))
        await decode.until(lambda heard: heard.lost)
        ((peer, reason),) = decode.lost
        assert peer == pair.address and "page_size is 16 at the peer and 32 here" in reason
        assert not reason.endswith("..")
        assert not pair.prefill.joined and not pair.prefill.said and not pair.prefill.lost

    run(scenario)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (encode_message(msgspec.structs.replace(DECODE, protocol=9)), "protocol 9"),
        (encode_message(Ack(1, True)), "first message is no hello"),
        (msgspec.msgpack.encode({"t": "surprise"}), "cannot be read"),
        ("hello", "text frame"),
    ],
    ids=["protocol", "no hello", "unknown tag", "text"],
)
def test_a_stranger_on_the_channel_hears_why_it_is_refused(frame: bytes | str, reason: str) -> None:
    async def scenario(pair: Pair) -> None:
        await pair.serve()
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"http://{pair.address}/peer") as stranger,
        ):
            assert decode_message(await stranger.receive_bytes(timeout=DEADLINE_S)) == PREFILL
            await (stranger.send_str(frame) if isinstance(frame, str) else stranger.send_bytes(frame))
            answer = decode_message(await stranger.receive_bytes(timeout=DEADLINE_S))
            assert isinstance(answer, Refused) and reason in answer.reason
            assert (await stranger.receive(timeout=DEADLINE_S)).type is aiohttp.WSMsgType.CLOSE
        assert not pair.prefill.joined and not pair.prefill.lost

    run(scenario)


def test_an_unknown_message_in_mid_talk_ends_the_channel_with_its_reason() -> None:
    async def scenario(pair: Pair) -> None:
        await pair.serve()
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"http://{pair.address}/peer") as peer,
        ):
            await peer.receive_bytes(timeout=DEADLINE_S)
            await peer.send_bytes(encode_message(DECODE))
            await peer.send_bytes(msgspec.msgpack.encode({"t": "surprise"}))
            while isinstance(answer := decode_message(await peer.receive_bytes(timeout=DEADLINE_S)), Ping):
                pass
            assert isinstance(answer, Refused) and "cannot be read" in answer.reason
        await pair.prefill.until(lambda heard: heard.lost)
        assert "cannot be read" in pair.prefill.lost[0][1]

    run(scenario)


def test_a_message_beyond_the_bound_ends_the_channel() -> None:
    async def scenario(pair: Pair) -> None:
        await pair.serve()
        client, decode = await pair.join()
        client.send(pair.address, Abort(1, "x" * MAX_MESSAGE_BYTES))
        await pair.prefill.until(lambda heard: heard.lost)
        await decode.until(lambda heard: heard.lost)
        assert not pair.prefill.said

    run(scenario)


def test_a_worker_that_goes_is_missed_on_the_other_side() -> None:
    async def scenario(pair: Pair) -> None:
        await pair.serve()
        client, decode = await pair.join()
        client.send(pair.address, Ack(1, True))
        await pair.prefill.until(lambda heard: heard.said)
        await client.stop()
        await pair.prefill.until(lambda heard: heard.lost)
        assert [peer for peer, _ in pair.prefill.lost] == [DECODE.address]
        assert not decode.lost, "who stops is not told about itself"

    run(scenario)


def test_after_a_restart_of_prefill_the_next_message_connects_anew() -> None:
    async def scenario(pair: Pair) -> None:
        server = await pair.serve()
        client, decode = await pair.join()
        client.send(pair.address, Ack(1, True))
        await decode.until(lambda heard: heard.joined)
        await pair.prefill.until(lambda heard: heard.said)
        await server.stop()
        await decode.until(lambda heard: len(heard.lost) == 1)
        client.send(pair.address, Ack(2, True))
        await decode.until(lambda heard: len(heard.lost) == 2)
        assert "cannot connect" in decode.lost[1][1]
        restarted = msgspec.structs.replace(PREFILL, epoch=99)
        await pair.serve(restarted, port=pair.port)
        client.send(pair.address, Ack(3, True))
        await decode.until(lambda heard: len(heard.joined) == 2)
        assert decode.joined[1][1].epoch == 99
        await pair.prefill.until(lambda heard: heard.said[-1][1] == Ack(3, True))
        assert len(decode.lost) == 2, "each loss is told once"

    run(scenario)


def test_a_decode_worker_that_connects_twice_replaces_itself() -> None:
    async def scenario(pair: Pair) -> None:
        server = await pair.serve()
        first, heard_first = await pair.join()
        first.send(pair.address, Ack(1, True))
        await pair.prefill.until(lambda heard: heard.said)
        again = msgspec.structs.replace(DECODE, epoch=3)
        second, heard_second = await pair.join(again)
        second.send(pair.address, Ack(2, True))
        await pair.prefill.until(lambda heard: len(heard.said) == 2)
        assert [peer for peer, _ in pair.prefill.lost] == [DECODE.address]
        assert [hello.epoch for _, hello in pair.prefill.joined] == [2, 3]
        await heard_first.until(lambda heard: heard.lost)  # the old connection is ended, not left behind
        server.send(DECODE.address, Drained(5))
        await heard_second.until(lambda heard: heard.said)
        assert not heard_first.said
        assert len(pair.prefill.lost) == 1

    run(scenario)


def test_a_prefill_worker_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_CONNECT_TIMEOUT_S", 0.2)

    async def scenario(pair: Pair) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"127.0.0.1:{silent.getsockname()[1]}"
            client, decode = await pair.join()
            client.send(address, Ack(1, True))
            await decode.until(lambda heard: heard.lost)
            assert "no answer within 0.2 s" in decode.lost[0][1]

    run(scenario)


def test_a_peer_that_falls_silent_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence_module, "LOST_S", 0.4)

    async def scenario(pair: Pair) -> None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            """Shakes hands, says hello, and answers nothing from then on, pings included."""
            request = await reader.readuntil(b"\r\n\r\n")
            key = next(line for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
            salted = key.partition(b": ")[2].strip() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
            digest = base64.b64encode(hashlib.sha1(salted).digest())
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + digest + b"\r\n\r\n"
            )
            hello = encode_message(PREFILL)
            writer.write(b"\x82\x7e" + len(hello).to_bytes(2, "big") + hello)
            await writer.drain()
            await reader.read()
            writer.close()

        silent = await asyncio.start_server(accept, "127.0.0.1", 0)
        address = f"127.0.0.1:{silent.sockets[0].getsockname()[1]}"
        client, decode = await pair.join()
        client.send(address, Ack(1, True))
        await decode.until(lambda heard: heard.lost)
        assert decode.joined, "it was there before"
        assert "said nothing" in decode.lost[0][1]
        await client.stop()
        silent.close()

    run(scenario)


def test_a_bug_of_the_listener_ends_the_channel_and_not_the_worker() -> None:
    async def scenario(pair: Pair) -> None:
        server = await pair.serve()
        client, decode = await pair.join()
        client.send(pair.address, Ack(1, True))
        await decode.until(lambda heard: heard.joined)
        decode.broken = True
        await pair.prefill.until(lambda heard: heard.said)
        server.send(DECODE.address, Drained(1))
        await decode.until(lambda heard: heard.lost)
        assert "ZeroDivisionError" in decode.lost[0][1]
        decode.broken = False
        client.send(pair.address, Ack(2, True))
        await pair.prefill.until(lambda heard: heard.said[-1][1] == Ack(2, True))

    run(scenario)


def test_messages_for_a_peer_that_is_not_connected_are_dropped_by_the_server() -> None:
    async def scenario(pair: Pair) -> None:
        server = await pair.serve()
        server.send("127.0.0.1:1", Drained(1))
        client, decode = await pair.join()
        client.send(pair.address, Ack(1, True))
        await pair.prefill.until(lambda heard: heard.said)
        server.send(DECODE.address, Drained(2))
        await decode.until(lambda heard: heard.said)
        assert decode.said == [(pair.address, Drained(2))]

    run(scenario)


ALL_RANKS = {"prefill_dp_rank": "-1", "prefill_cp_rank": "-1", "target_tp_rank": "-1", "target_pp_rank": "-1"}


def test_sglang_clients_find_health_and_topology() -> None:
    async def scenario(pair: Pair) -> None:
        await pair.serve()
        async with aiohttp.ClientSession(f"http://{pair.address}") as session:
            async with session.get("/health") as answer:
                assert (answer.status, await answer.text()) == (200, "OK")
            async with session.get("/route", params=ALL_RANKS) as answer:
                assert answer.status == 200
                found = await answer.json()
        assert found["attn_tp_size"] == found["attn_cp_size"] == found["dp_size"] == found["pp_size"] == 1
        assert found["page_size"] == 16 and found["kv_cache_dtype"] == "bfloat16"
        assert found["follow_bootstrap_room"] is False
        assert found["prefill_http_port"] == 8001

    run(scenario)


@pytest.mark.parametrize("missing", sorted(ALL_RANKS))
def test_a_topology_query_without_a_parameter_is_a_bad_request(missing: str) -> None:
    async def scenario(pair: Pair) -> None:
        await pair.serve()
        params = {name: value for name, value in ALL_RANKS.items() if name != missing}
        async with (
            aiohttp.ClientSession(f"http://{pair.address}") as session,
            session.get("/route", params=params) as answer,
        ):
            assert answer.status == 400
            assert missing in await answer.text()

    run(scenario)


@pytest.mark.parametrize("header", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
@pytest.mark.parametrize("path", ["/peer", "/route", "/health"])
def test_web_pages_are_refused(path: str, header: dict[str, str]) -> None:
    async def scenario(pair: Pair) -> None:
        await pair.serve()
        async with (
            aiohttp.ClientSession(f"http://{pair.address}") as session,
            session.get(path, headers=header) as answer,
        ):
            assert answer.status == 403

    run(scenario)


def test_limits_are_bounded() -> None:
    assert channel_module.MAX_MESSAGE_BYTES <= 16 << 20
    assert silence_module.PING_S == 0.5 and silence_module.LOST_S == 2.0
