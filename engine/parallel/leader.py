"""The first rank's way to the others: orders to all of them in order, reports back, and who of them is gone.

One socket per follower, which opens it with the secret that it was given where the ranks met. A thread for each takes
reports; whoever sends an order writes it himself, under one lock, so that all followers get all orders in one order.
A follower is gone when its process or its connection ends, or when it says that it failed: told within a second,
whatever the collectives do meanwhile. Knows nothing of what orders do.
"""

from __future__ import annotations

import contextlib
import hmac
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from ..errors import PdpanelError, RankError, RemoteProtocolError
from .agreement import Member
from .children import Children, Ending
from .frames import Down, Ended, FrameSocket, Joining, Pulse, Up, decode_up, encode
from .orders import Failed, Order, Profiled, Report, Stop, Written

__all__ = ["Leader", "OnLost"]

_HELLO_S = 5.0
_EXIT_S = 1.0
# Of that, for a rank of another node: it may have died with who would tell, and a second is what people are promised.
_ELSEWHERE = 0.75
_STOP_S = 5.0
_SILENT_S = 20.0

OnLost = Callable[[int, str], None]
"""Told which rank is gone, and in one sentence how."""

_T = TypeVar("_T")


class Leader:
    """Rank 0's end of the connections.

    Args:
        listener: bound socket where followers connect.
        secret: what they have to say.
        members: the followers, by rank; see `rendezvous.meet`.
        children: those of this node.
        exit_s: how long to wait, when a connection ends, for who knows how the rank ended.

    Attributes:
        on_lost: called once for each rank that is gone, on any thread.
        on_profiled: told of each rank's profile.
        on_written: told of each report of a write.
        pulses: what each rank said of itself last.
        ends: how each rank that is gone ended, those that were dropped too.
    """

    def __init__(
        self,
        listener: socket.socket,
        secret: str,
        members: Mapping[int, Member],
        children: Children,
        on_lost: OnLost,
        exit_s: float = _EXIT_S,
    ) -> None:
        self.on_lost = on_lost
        self.on_profiled: Callable[[int, str], None] = lambda rank, path: None
        self.on_written: Callable[[Written], None] = lambda report: None
        self.pulses: dict[int, Pulse] = {}
        self.members = dict(members)
        self.lost: dict[int, str] = {}
        self.ends: dict[int, str] = {}
        self._listener = listener
        self._secret = secret
        self._children = children
        self._exit_s = exit_s
        self._links: dict[int, FrameSocket] = {}
        self._sending = threading.Lock()
        self._news = threading.Condition()
        self._said: dict[tuple[type, int], Up] = {}
        self._tickets: dict[int, Callable[[Written], None]] = {}
        self._stopping = False
        self._heard: dict[int, float] = {}
        self._dropped: set[int] = set()

    def accept(self, timeout_s: float) -> None:
        """Waits until all followers are connected.

        Raises:
            PdpanelError: one is gone, or did not connect in time.
        """
        self._children.watch(self._child_ended)
        self._listener.listen(len(self.members) + 8)
        threading.Thread(target=self._accept, name="ranks", daemon=True).start()
        with self._news:
            self._news.wait_for(lambda: bool(self.lost) or len(self._links) == len(self.members), timeout_s)
            absent = sorted(set(self.members) - set(self._links))
        self._raise_lost()
        if absent:
            raise PdpanelError(f"{self._name(absent[0])} did not connect for orders within {timeout_s:g} s.")

    def _accept(self) -> None:
        while True:
            try:
                connected = self._listener.accept()[0]
            except OSError:
                return  # closed
            # A thread for each: a stranger who says nothing holds up nobody.
            threading.Thread(target=self._admit, args=(FrameSocket(connected),), daemon=True).start()

    def _admit(self, link: FrameSocket) -> None:
        """Takes a connection whose first frame is good; anybody else's ends."""
        link.set_timeout(_HELLO_S)
        with contextlib.suppress(RemoteProtocolError):
            body = link.receive(first=True)
            said = decode_up(body) if body is not None else None
            if isinstance(said, Joining | Ended) and self._knows(said):
                if isinstance(said, Joining) and self._take(said.rank, link):
                    return
                if isinstance(said, Ended):
                    self._lose(said.rank, f"{self._name(said.rank)} {said.words}")
        link.close()

    def _knows(self, said: Joining | Ended) -> bool:
        return said.rank in self.members and hmac.compare_digest(said.secret.encode(), self._secret.encode())

    def _take(self, rank: int, link: FrameSocket) -> bool:
        """Takes a follower's connection; returns False when that rank has one, or had."""
        with self._news:
            if rank in self._links or rank in self._dropped:
                return False
            link.set_timeout(None)
            self._links[rank] = link
            self._news.notify_all()
        threading.Thread(target=self._read, args=(rank, link), name=f"reports of rank {rank}", daemon=True).start()
        return True

    def send(self, order: Order) -> None:
        """Has all followers carry `order` out, after the orders before it; any thread.

        Raises:
            RankError: a rank is gone, and says which.
        """
        self.tell(order)

    def tell(self, message: Down) -> None:
        """Sends a message to all followers that are there; see `send`."""
        frame = encode(message)
        with self._sending:
            broken = [rank for rank, link in self._links.items() if not _sent(link, frame)]
        if broken and not self._stopping:
            raise RankError(self.gone(2 * self._exit_s) or f"{self._name(broken[0])} takes no orders any more.")

    def gone(self, wait_s: float) -> str:
        """Returns which rank is gone and how, waiting so long for the news; empty when all are there."""
        with self._news:
            self._news.wait_for(lambda: bool(self.lost), wait_s)
            return next(iter(self.lost.values()), "")

    def await_all(self, kind: type[_T], fits: Callable[[_T], bool] = lambda message: True) -> dict[int, _T]:
        """Returns what each follower said of this kind, once all have; forgets it.

        Args:
            fits: whether it is the one that is waited for.

        Raises:
            PdpanelError: one is gone; says which.
        """
        with self._news:
            self._news.wait_for(lambda: bool(self.lost) or self._have(kind, fits))
        self._raise_lost()
        with self._news:
            said = {rank: self._said.pop((kind, rank)) for rank in self._links}
        return {rank: message for rank, message in said.items() if isinstance(message, kind)}

    def _have(self, kind: type[_T], fits: Callable[[_T], bool]) -> bool:
        said = (self._said.get((kind, rank)) for rank in self._links)
        return all(isinstance(message, kind) and fits(message) for message in said)

    def _raise_lost(self) -> None:
        if reason := self.gone(0.0):
            raise PdpanelError(reason)

    def listen(self, ticket: int, callback: Callable[[Written], None]) -> None:
        """Has `callback` called for each rank's report of this write, on any thread."""
        with self._news:
            self._tickets[ticket] = callback

    def forget(self, ticket: int) -> None:
        """Ends that."""
        with self._news:
            self._tickets.pop(ticket, None)

    def report(self, report: Report) -> None:
        """Takes a report of any rank, this one's included."""
        match report:
            case Written(ticket=ticket):
                with self._news:
                    callback = self._tickets.get(ticket)
                self.on_written(report)
                if callback is not None:
                    callback(report)
            case Profiled(rank=rank, path=path):
                self.on_profiled(rank, path)
            case Failed(rank=rank, reason=reason):
                self._lose(rank, f"{self._name(rank)} failed: {reason}")

    def _read(self, rank: int, link: FrameSocket) -> None:
        problem = ""
        try:
            while (body := link.receive()) is not None:
                self._heard[rank] = time.monotonic()
                message = decode_up(body)
                match message:
                    case Pulse():
                        self.pulses[rank] = message
                    case Written() | Profiled() | Failed():
                        self.report(message)
                    case _:
                        with self._news:
                            self._said[type(message), rank] = message
                            self._news.notify_all()
        except RemoteProtocolError as error:
            problem = f"; {error}"
        wait_s = self._exit_s if rank in self._children.ranks else self._exit_s * _ELSEWHERE
        with self._news:  # its parent, here or on its own node, knows how it ended
            self._news.wait_for(lambda: rank in self.lost or self._stopping, wait_s)
        self._lose(rank, f"{self._name(rank)} is gone: its connection ended{problem}.")

    def watch_silence(self, limit_s: float = _SILENT_S) -> None:
        """From now on a rank that says nothing for so long is gone: one that was stopped keeps its connection."""
        threading.Thread(target=self._watch_silence, args=(limit_s,), name="silent ranks", daemon=True).start()

    def _watch_silence(self, limit_s: float) -> None:
        since = looked = time.monotonic()
        with self._news:
            while not self._news.wait_for(lambda: self._stopping, limit_s / 20):
                now = time.monotonic()
                if now - looked > limit_s / 4:  # it was this process that slept
                    since = now
                looked = now
                for rank in self._links.keys() - self.lost.keys():
                    if now - max(self._heard.get(rank, 0.0), since) > limit_s:
                        reason = f"{self._name(rank)} has said nothing for {limit_s:g} s."
                        threading.Thread(target=self._lose, args=(rank, reason), daemon=True).start()

    def _child_ended(self, rank: int, end: Ending) -> None:
        self._lose(rank, f"{self._name(rank)} {end.words}")

    def _lose(self, rank: int, reason: str) -> None:
        with self._news:
            if self._stopping or rank in self.lost or rank in self._dropped:
                return
            self.lost[rank] = self.ends[rank] = reason
            self._news.notify_all()
        self.on_lost(rank, reason)

    def _name(self, rank: int) -> str:
        member = self.members.get(rank)
        if member is None:
            return f"Rank {rank}"
        where = f"node {member.node}" if member.host == self._host() else f"node {member.node}, {member.host}"
        return f"Rank {rank} (pid {member.pid} on {where})"

    def _host(self) -> str:
        return socket.gethostname()

    def end(self, rank: int) -> None:
        """Ends the process of a rank that is gone for us, where it is one of this node: it may only stand still."""
        self._children.kill(rank)

    def has_ended(self, rank: int, wait_s: float) -> bool:
        """Returns whether the process of a rank of this node is gone for sure, waiting so long for its end."""
        return self._children.end_of(rank, wait_s) is not None

    def drop(self, rank: int) -> None:
        """Goes on without a rank that is gone: orders go to the others, and `gone` speaks of it no more."""
        with self._sending, self._news:
            link = self._links.pop(rank, None)
            self._dropped.add(rank)
            self.lost.pop(rank, None)
        if link is not None:
            link.close()

    @property
    def alive(self) -> dict[int, bool]:
        """Whether each follower is there, by rank."""
        return {rank: rank in self._links and rank not in self.lost for rank in self.members}

    def stop(self, reason: str = "") -> None:
        """Ends the followers, after the orders that they have; returns when those of this node are gone.

        Args:
            reason: why, where nobody told the worker to end; the nodes above 0 end with an error then, so that what
                started them starts them again.
        """
        with self._news:
            self._stopping = True
            self._news.notify_all()
        with contextlib.suppress(RankError):
            self.tell(Stop(reason))
        self._children.stop(_STOP_S if not self.lost else 0.0)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes `_accept`
        self._listener.close()
        for link in self._links.values():
            link.close()


def _sent(link: FrameSocket, frame: bytes) -> bool:
    try:
        link.send_bytes(frame)
    except OSError:
        return False
    return True
