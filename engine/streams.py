"""Who listens to which request: the asyncio side of the step loop's output.

Lives on the event loop's thread alone. Every accepted request ends with exactly one finish; whatever comes for it
afterwards is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from .actions import Emit
from .errors import CapacityError, ConflictError
from .request import Finish, FinishKind, GenerateRequest, TokenEvent

__all__ = ["Stream", "Streams"]


@dataclass(slots=True, eq=False)
class Stream:
    """One listener.

    Attributes:
        ended: True once the finish (or prefill's hand-over) was queued.
    """

    key: int
    request: GenerateRequest
    events: asyncio.Queue[TokenEvent | None] = field(default_factory=asyncio.Queue)
    ended: bool = False


class Streams:
    """The open requests of a worker.

    Args:
        limit: open requests at most; one more is refused with 503.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: dict[int, Stream] = {}
        self._rooms: set[int] = set()
        self._next_key = 1

    def __len__(self) -> int:
        return len(self._open)

    @property
    def spare(self) -> int:
        """How many more requests may be opened."""
        return self._limit - len(self._open)

    def open(self, request: GenerateRequest) -> Stream:
        """Registers a request.

        Raises:
            CapacityError: too many requests are open.
            ConflictError: its room is active already.
        """
        if len(self._open) >= self._limit:
            raise CapacityError(f"The worker has {len(self._open)} requests, as many as it takes; try again soon.")
        if request.bootstrap is not None:
            room = request.bootstrap.room
            if room in self._rooms:
                raise ConflictError("bootstrap_room", room, "this room is active already", "use a fresh room")
            self._rooms.add(room)
        stream = Stream(self._next_key, request)
        self._next_key += 1
        self._open[stream.key] = stream
        return stream

    def deliver(self, emits: Iterable[Emit]) -> None:
        """Hands the step loop's output to the listeners."""
        for emit in emits:
            stream = self._open.get(emit.key)
            if stream is None or stream.ended:
                continue
            if emit.token_ids or emit.finish:
                event = TokenEvent(
                    stream.request.rid,
                    emit.token_ids,
                    emit.finish,
                    cached_tokens=emit.cached_tokens,
                    scores=emit.scores,
                )
                stream.events.put_nowait(event)
            if emit.finish is not None or emit.end:
                stream.ended = True
                stream.events.put_nowait(None)

    def close(self, stream: Stream) -> None:
        """Forgets a request; its listener has gone or has everything."""
        if self._open.pop(stream.key, None) is not None and stream.request.bootstrap is not None:
            self._rooms.discard(stream.request.bootstrap.room)

    def named(self, rid: str) -> list[Stream]:
        """Returns the open requests with this id; all of them for an empty one."""
        return [stream for stream in self._open.values() if not rid or stream.request.rid == rid]

    def fail_all(self, message: str, http_status: int) -> None:
        """Ends every request with an error."""
        finish = Finish(FinishKind.ABORT, message=message, http_status=http_status)
        self.deliver([Emit(key, finish=finish) for key in tuple(self._open)])
