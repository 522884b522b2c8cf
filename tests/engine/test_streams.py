"""Every accepted request ends with exactly one finish, and what comes after it is dropped."""

from __future__ import annotations

import asyncio

import pytest
from pdpanel.engine.actions import Emit
from pdpanel.engine.errors import CapacityError, ConflictError
from pdpanel.engine.request import Bootstrap, Finish, FinishKind, GenerateRequest, TokenEvent
from pdpanel.engine.streams import Stream, Streams

STOP = Finish(FinishKind.STOP, matched=2)


def request(rid: str = "r", room: int = 0) -> GenerateRequest:
    return GenerateRequest(rid, (1,), bootstrap=Bootstrap("127.0.0.1", 1, room) if room else None)


def drain(stream: Stream) -> list[TokenEvent | None]:
    events = []
    while not stream.events.empty():
        events.append(stream.events.get_nowait())
    return events


def test_events_arrive_until_the_finish_and_no_further() -> None:
    streams = Streams(4)
    stream = streams.open(request())
    key = stream.key
    streams.deliver([Emit(key, (5,)), Emit(key, (2,), STOP), Emit(key, (9,)), Emit(key, end=True)])
    assert drain(stream) == [TokenEvent("r", (5,)), TokenEvent("r", (2,), STOP), None]


def test_a_hand_over_ends_the_stream_without_a_finish() -> None:
    streams = Streams(4)
    stream = streams.open(request())
    streams.deliver([Emit(stream.key, (5,)), Emit(stream.key, end=True)])
    assert drain(stream) == [TokenEvent("r", (5,)), None]
    assert stream.ended


def test_what_comes_for_a_closed_stream_is_dropped() -> None:
    streams = Streams(4)
    stream = streams.open(request())
    streams.close(stream)
    streams.deliver([Emit(stream.key, (5,), STOP)])
    assert drain(stream) == [] and len(streams) == 0


def test_a_room_is_active_once_and_free_again_when_closed() -> None:
    streams = Streams(4)
    first = streams.open(request(room=7))
    with pytest.raises(ConflictError, match="bootstrap_room = 7"):
        streams.open(request(room=7))
    streams.close(first)
    assert streams.open(request(room=7)).key != first.key


def test_more_than_the_limit_is_refused_with_503() -> None:
    streams = Streams(1)
    streams.open(request())
    with pytest.raises(CapacityError) as caught:
        streams.open(request("other"))
    assert caught.value.http_status == 503 and caught.value.retryable


def test_a_failing_worker_tells_every_listener_once() -> None:
    async def scenario() -> list[list[TokenEvent | None]]:
        streams = Streams(4)
        ended, running = streams.open(request("a")), streams.open(request("b"))
        streams.deliver([Emit(ended.key, (2,), STOP)])
        streams.fail_all("it broke", 500)
        return [drain(ended), drain(running)]

    ended, running = asyncio.run(scenario())
    assert ended == [TokenEvent("a", (2,), STOP), None]
    failed = running[0]
    assert failed is not None and failed.finish is not None
    assert (failed.finish.kind, failed.finish.http_status) == (FinishKind.ABORT, 500)
    assert running[1] is None


def test_what_is_spare_counts_every_open_request() -> None:
    streams = Streams(2)
    assert streams.spare == 2
    first = streams.open(request())
    streams.open(request())
    assert streams.spare == 0
    streams.close(first)
    assert streams.spare == 1
