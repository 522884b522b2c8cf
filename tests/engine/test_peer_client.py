"""How decode comes back to prefill workers that went away, and what it says of messages that never left."""

from __future__ import annotations

import asyncio
import itertools
import socket

import msgspec
import pytest
from pdpanel.engine.peer import channel as channel_module
from pdpanel.engine.peer import silence as silence_module
from pdpanel.engine.peer.messages import Ack, Drained, Grant
from peer_pair import PREFILL, Pair, run

GRANT = Grant(7, ((0, 1),), 5, 9.5)


def test_a_restarted_peer_that_is_awaited_is_found_without_anything_to_say() -> None:
    async def scenario(pair: Pair) -> None:
        awaited = {""}
        server = await pair.serve()
        client, decode = await pair.join(is_awaited=lambda peer: peer in awaited)
        awaited.add(pair.address)
        client.send(pair.address, GRANT)
        await pair.prefill.until(lambda heard: heard.said)
        await server.stop()
        await decode.until(lambda heard: len(heard.lost) == 1)
        await pair.serve(msgspec.structs.replace(PREFILL, epoch=99), port=pair.port)
        await decode.until(lambda heard: len(heard.joined) == 2)
        assert decode.joined[1][1].epoch == 99
        assert len(decode.lost) == 1, "an attempt that fails without anything to say is no news"
        assert decode.unsent == [()], "the grant had left"

    run(scenario)


def test_messages_that_never_left_are_told() -> None:
    async def scenario(pair: Pair) -> None:
        client, decode = await pair.join()
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            peer = f"127.0.0.1:{closed.getsockname()[1]}"
            client.send(peer, GRANT)
            client.send(peer, Ack(1, True))
            await decode.until(lambda heard: heard.lost)
        assert decode.unsent == [(GRANT, Ack(1, True))] and "cannot connect" in decode.lost[0][1]

    run(scenario)


def test_a_dropped_channel_is_lost_with_the_reason_on_this_side_and_ended_on_the_other() -> None:
    async def scenario(pair: Pair) -> None:
        await pair.serve()
        client, decode = await pair.join()
        client.send(pair.address, GRANT)
        await decode.until(lambda heard: heard.joined)
        assert client.connected == (pair.address,)
        client.drop(pair.address, "two checks failed")
        client.drop("127.0.0.1:1", "nobody")
        await decode.until(lambda heard: heard.lost)
        await pair.prefill.until(lambda heard: heard.lost)
        assert "two checks failed" in decode.lost[0][1]
        assert not client.connected

    run(scenario)


def test_an_idle_connection_is_kept_by_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence_module, "LOST_S", 0.5)
    monkeypatch.setattr(channel_module, "PING_S", 0.05)
    pinged = itertools.count(1)
    often = asyncio.Event()

    def load() -> tuple[int, int]:
        """Asked for each ping and each pong."""
        if next(pinged) == 40:
            often.set()
        return 0, 0

    async def scenario(pair: Pair) -> None:
        server = await pair.serve()
        client, decode = await pair.join(load=load)
        client.send(pair.address, GRANT)
        await decode.until(lambda heard: heard.joined)
        async with asyncio.timeout(20):
            await often.wait()  # twice as long as a silence may last
        server.send("127.0.0.1:8002", Drained(1))
        await decode.until(lambda heard: heard.said)
        assert not decode.lost and not pair.prefill.lost
        assert [type(message).__name__ for _, message in decode.said] == ["Drained"], "pings are the channel's own"

    run(scenario)
