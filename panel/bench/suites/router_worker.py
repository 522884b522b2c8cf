"""Stand-ins for a prefill and a decode worker that cost next to nothing, so that the router before them is measured.

A process of its own: `python -m pdpanel.panel.bench.suites.router_worker`. Prefill sends one event and ends its answer
once decode has the same room; decode begins when prefill has it, and sends one event at each tick. Events are as long
as the bundled engine's; they are numbered for those who ask (`x-pdpanel-attempt`). Just enough HTTP for three routers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import resource
import sys
from collections.abc import Callable
from typing import cast

__all__ = ["StandIns", "main"]

_ROOM = re.compile(rb'"bootstrap_room":\s*(\d+)')
_TOKENS = re.compile(rb'"max_new_tokens":\s*(\d+)')
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_END = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
_LISTEN_BACKLOG = 4096


def _whole(body: object, status: str = "200 OK") -> bytes:
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def _event(number: int, *, last: bool, numbered: bool) -> bytes:
    """Returns an event of /generate as one HTTP chunk."""
    meta = {
        "id": "gnt-0123456789abcdef01234567",
        "finish_reason": {"type": "length", "length": number} if last else None,
        "prompt_tokens": 512,
        "weight_version": "default",
        "completion_tokens": number,
        "cached_tokens": 0,
    }
    data = json.dumps({"text": " and the", "output_ids": [1000 + number], "meta_info": meta})
    line = f"id: {number} {1000 + number}\n" if numbered else ""
    event = f"{line}data: {data}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(event), event)


class _Stream:
    """One answer of decode: its connection and the events to come."""

    __slots__ = ("at", "events", "transport")

    def __init__(self, transport: asyncio.WriteTransport, events: list[bytes]) -> None:
        self.transport = transport
        self.events = events
        self.at = 0


class StandIns:
    """Both roles in one event loop.

    Args:
        pace_s: from one token of a stream to the next; 0 sends all of an answer at once.
    """

    def __init__(self, pace_s: float) -> None:
        self._pace_s = pace_s
        self._answers: dict[tuple[int, bool], list[bytes]] = {}
        self._prefills: dict[bytes, asyncio.WriteTransport] = {}
        self._decodes: dict[bytes, _Stream] = {}
        self._streams: set[_Stream] = set()

    async def serve(self, prefill_port: int, decode_port: int, bootstrap_port: int) -> None:
        """Serves until it is cancelled; the bootstrap port is only held."""
        loop = asyncio.get_running_loop()
        made = [
            await loop.create_server(lambda: _Connection(self.prefill), "127.0.0.1", prefill_port),
            await loop.create_server(lambda: _Connection(self.decode), "127.0.0.1", decode_port),
            await loop.create_server(asyncio.Protocol, "127.0.0.1", bootstrap_port),
        ]
        print("ready", flush=True)
        try:
            await self._tick()
        finally:
            for server in made:
                server.close()

    def prefill(self, head: bytes, body: bytes, transport: asyncio.WriteTransport) -> None:
        """Answers one request as prefill."""
        room = _ROOM.search(body)
        first = self._events(head, body)[0]
        transport.write(_STREAM_HEAD + first)
        if room is None:
            transport.write(_END)
        elif (waiting := self._decodes.pop(room[1], None)) is not None:
            transport.write(_END)
            if not waiting.transport.is_closing():
                self._begin(waiting)
        else:
            self._prefills[room[1]] = transport

    def decode(self, head: bytes, body: bytes, transport: asyncio.WriteTransport) -> None:
        """Answers one request as decode, or as a worker that does both where no room is named."""
        room = _ROOM.search(body)
        stream = _Stream(transport, self._events(head, body))
        if room is None:
            self._begin(stream)
        elif (waiting := self._prefills.pop(room[1], None)) is not None:
            if not waiting.is_closing():
                waiting.write(_END)
            self._begin(stream)
        else:
            self._decodes[room[1]] = stream

    def _events(self, head: bytes, body: bytes) -> list[bytes]:
        asked = _TOKENS.search(body)
        key = int(asked[1]) if asked else 16, b"x-pdpanel-attempt" in head.lower()
        if key not in self._answers:
            count, numbered = key
            made = [_event(number + 1, last=number == count - 1, numbered=numbered) for number in range(count)]
            self._answers[key] = [*made[:-1], made[-1] + _END]
        return self._answers[key]

    def _begin(self, stream: _Stream) -> None:
        if not self._pace_s:
            stream.transport.write(_STREAM_HEAD + b"".join(stream.events))
            return
        stream.transport.write(_STREAM_HEAD + stream.events[0])
        stream.at = 1
        if len(stream.events) > 1:
            self._streams.add(stream)

    async def _tick(self) -> None:
        """Sends a token of every open stream, as a batch does."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + (self._pace_s or 3600.0), loop.time())
            await asyncio.sleep(due - loop.time())
            for stream in list(self._streams):
                if stream.transport.is_closing():
                    self._streams.discard(stream)
                    continue
                stream.transport.write(stream.events[stream.at])
                stream.at += 1
                if stream.at == len(stream.events):
                    self._streams.discard(stream)


_Answer = Callable[[bytes, bytes, asyncio.WriteTransport], None]
_INFO = _whole({"model_path": "stand-in", "served_model_name": "stand-in", "tp_size": 1, "dp_size": 1})
_OTHER = {
    b"/health": _whole({"status": "ok"}),
    b"/get_load": _whole([{"dp_rank": 0, "num_reqs": 0, "num_waiting_reqs": 0, "num_tokens": 0}]),
    b"/abort_request": _whole({"aborted": False}),
    **dict.fromkeys((b"/server_info", b"/get_server_info", b"/model_info", b"/get_model_info"), _INFO),
}
_UNKNOWN = _whole({"error": "unknown route"}, "404 Not Found")


class _Connection(asyncio.Protocol):
    """Reads requests, which come whole or in parts but never before the last answer has ended."""

    def __init__(self, answer: _Answer) -> None:
        self._answer = answer
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is no subclass.

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        at = self._buffer.find(b"\r\n\r\n")
        if at < 0:
            return
        head = self._buffer[: at + 2]
        found = _LENGTH.search(head)
        end = at + 4 + (int(found[1]) if found else 0)
        if len(self._buffer) < end:
            return
        body, self._buffer = self._buffer[at + 4 : end], self._buffer[end:]
        method, path = head.split(b" ", 2)[:2]
        if path == b"/generate":
            self._answer(head, body, self._transport)
        elif method == b"PRI":  # A probe for gRPC.
            self._transport.close()
        else:
            self._transport.write(_OTHER.get(path.partition(b"?")[0], _UNKNOWN))


def main(argv: list[str] | None = None) -> int:
    """Serves both roles until it is killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("prefill", "decode", "bootstrap"):
        parser.add_argument(f"--{name}-port", type=int, required=True)
    parser.add_argument("--pace-ms", type=float, default=0.0)
    given = parser.parse_args(argv)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    import uvloop

    stand_ins = StandIns(given.pace_ms / 1000)
    uvloop.run(stand_ins.serve(given.prefill_port, given.decode_port, given.bootstrap_port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
