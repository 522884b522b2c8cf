"""Either end of the channel leaves and comes back as another one, while its process and its address stay."""

from __future__ import annotations

import asyncio

import msgspec
from pdpanel.engine.peer.messages import Abort, Ack
from pdpanel.engine.peer.server import topology
from peer_pair import DECODE, PREFILL, Pair, run

OTHER_PREFILL = msgspec.structs.replace(PREFILL, epoch=11)
OTHER_DECODE = msgspec.structs.replace(DECODE, epoch=12)
REASON = "this worker has lost a rank"


def test_a_server_that_left_keeps_workers_waiting_and_greets_them_as_another_one() -> None:
    async def scenario(pair: Pair) -> None:
        server = await pair.serve()
        client, decode = await pair.join(is_awaited=lambda peer: True)
        client.send(pair.address, Ack(1, True))
        await pair.prefill.until(lambda heard: heard.said)
        server.leave(REASON)
        assert [peer for peer, _ in pair.prefill.lost] == [DECODE.address] and REASON in pair.prefill.lost[0][1]
        await decode.until(lambda heard: heard.lost)
        client.send(pair.address, Ack(2, True))
        server.send(DECODE.address, Abort(3, "to nobody"))
        server.come_back(OTHER_PREFILL, topology(OTHER_PREFILL, 8001))
        await pair.prefill.until(lambda heard: len(heard.said) == 2)
        assert [hello.epoch for _, hello in decode.joined] == [PREFILL.epoch, OTHER_PREFILL.epoch]
        assert [message for _, message in pair.prefill.said] == [Ack(1, True), Ack(2, True)]
        assert len(pair.prefill.lost) == len(decode.lost) == 1 and not decode.said

    run(scenario)


def test_a_client_that_left_tells_what_it_did_not_send_and_connects_as_another_one() -> None:
    async def scenario(pair: Pair) -> None:
        await pair.serve()
        client, decode = await pair.join()
        client.send(pair.address, Ack(1, True))
        await pair.prefill.until(lambda heard: heard.said)
        client.leave(REASON)
        assert [peer for peer, _ in decode.lost] == [pair.address] and REASON in decode.lost[0][1]
        client.send(pair.address, Ack(2, True))
        await pair.prefill.until(lambda heard: heard.lost)
        client.leave(REASON)  # it loses another one before it is back
        assert decode.unsent == [(), (Ack(2, True),)]
        client.send(pair.address, Ack(3, True))
        client.come_back(OTHER_DECODE)
        await pair.prefill.until(lambda heard: len(heard.said) == 2)
        assert [hello.epoch for _, hello in pair.prefill.joined] == [DECODE.epoch, OTHER_DECODE.epoch]
        assert [message for _, message in pair.prefill.said] == [Ack(1, True), Ack(3, True)]
        assert len(decode.lost) == 2

    run(scenario)


def test_a_greeting_that_began_before_is_of_nobody() -> None:
    async def scenario(pair: Pair) -> None:
        server = await pair.serve()
        client, decode = await pair.join()
        client.send(pair.address, Ack(1, True))
        await asyncio.sleep(0)  # it connects now
        client.leave(REASON)
        server.leave(REASON)
        client.send(pair.address, Ack(2, True))
        client.come_back(OTHER_DECODE)
        server.come_back(OTHER_PREFILL, topology(OTHER_PREFILL, 8001))
        await pair.prefill.until(lambda heard: heard.said)
        assert pair.prefill.joined[-1][1].epoch == OTHER_DECODE.epoch
        assert decode.joined[-1][1].epoch == OTHER_PREFILL.epoch
        assert [message for _, message in pair.prefill.said] == [Ack(2, True)]

    run(scenario)
