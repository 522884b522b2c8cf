"""KV through Mooncake's Transfer Engine, with metadata from peer to peer or from a server.

Facts that shape this file (transports.md): every failure is an int, and -1 tells no causes apart, so a probe of the
peer is reported beside it; an unregistered source is accepted and reported as success, so sources are checked here;
the synchronous calls poll in a busy loop and cost a core, so writes are submitted and asked about with pauses (see
`flight`); a time-out ends the wait, not the transfer, so such a write is not quiet; the first write to a peer that
accepts connections but does not answer blocks the writes to all peers for a minute, so a peer is probed, off the
link's thread, before it. Both ports of an engine listen on all addresses. The only file that imports mooncake.
"""

from __future__ import annotations

import ctypes
import importlib
import secrets
import threading
import time
from collections import deque
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from ..errors import TransferError
from ..mooncake_config import P2P
from .address import reachable_host
from .api import EndpointInfo, TransferSettings
from .flight import DONE, NOT_STARTED, RUNNING, TIMED_OUT, Flight, Pace, pieces
from .plan import Segment, outside
from .registration import Registration
from .write_pool import Write, WritePool
from .write_queue import LATE, QueuedLink

__all__ = ["MooncakeEndpoint", "Registry", "apply_environment", "mooncake_environment"]

_LATE_PROBE_S = 1.0
_LOOK_S = 0.05
_STILL_PAUSE_S = 2e-3
_WORDS = {RUNNING: "timed out", TIMED_OUT: "timed out", NOT_STARTED: "could not be started"}
_CLOSED = "the link was closed before the write was complete"


def mooncake_environment(settings: TransferSettings, *, force_tcp: bool) -> dict[str, str]:
    """Returns the MC_* variables that an engine must be started with.

    The two TCP limits, 30 s each by themselves, end a write to a peer that stands still; without them it would go on
    long after our wait for it has ended. The pool is on because every transfer opens a connection without it, until
    ports run out (sglang#31208). Slices of 1 MiB are up to twice as fast as the default 64 KiB for our block sizes
    (transports.md 8).
    """
    seconds = str(max(5, round(settings.timeout_s)))
    values = {
        "MC_TRANSFER_TIMEOUT": seconds,
        "MC_TCP_PROGRESS_TIMEOUT_SEC": seconds,
        "MC_TCP_STATUS_TIMEOUT_SEC": seconds,
        "MC_TCP_ENABLE_CONNECTION_POOL": "true",
        "MC_TCP_SLICE_SIZE": str(1 << 20),
        "MC_SLICE_SIZE": str(1 << 20),
        "MC_LOG_LEVEL": "WARNING",
    }
    if force_tcp:
        values["MC_FORCE_TCP"] = "1"
    return values


def apply_environment(values: Mapping[str, str], environ: MutableMapping[str, str]) -> None:
    """Sets what is not set yet; must happen before the first engine is made, which reads it with getenv."""
    for name, value in values.items():
        environ.setdefault(name, value)


class _MooncakeLink(QueuedLink):
    """The write that runs when it is closed is given up, and not quiet: the engine goes on until it ends it."""

    def __init__(
        self,
        engine: Any,
        source: tuple[int, int],
        info: EndpointInfo,
        settings: TransferSettings,
        pool: WritePool,
        registration: Registration | None = None,
    ) -> None:
        self._engine: Any = engine
        self._registration = registration
        self._source, self._source_length = source
        self._info = info
        self._settings = settings
        self._met = False
        self._abandoned: list[int] = []
        self._pace = Pace()
        super().__init__(pool, f"mooncake {info.session}")

    def is_still(self, deadline: float) -> bool:
        """Waits until the engine has ended the writes that were given up; False when it has not at the deadline."""
        while self._abandoned:
            job = self._abandoned[-1]
            while int(self._engine.transfer_check_status(job)) == RUNNING:
                if time.monotonic() > deadline:
                    return False
                time.sleep(_STILL_PAUSE_S)
            self._abandoned.pop()
        self._engine = None
        return True

    def _write(self, write: Write) -> None:
        segments, ticket = write.segments, write.ticket
        if problem := outside(segments, self._source_length, self._info.length):
            ticket.fail(problem, quiesced=True)
            return
        if not self._met:
            if problem := self._meet():
                ticket.fail(f"Mooncake's peer {self._info.session} cannot be reached: {problem}", quiesced=True)
                return
            self._met = True
        problem, quiesced = self._carry(write)
        if problem:
            ticket.fail(problem, quiesced=quiesced)
        else:
            ticket.done()

    def _carry(self, write: Write) -> tuple[str, bool]:
        """Writes all segments; returns what went wrong, empty for nothing, and whether nothing is under way."""
        flight = Flight(self._engine, self._info.session, self._settings)
        waiting = deque(pieces(write.segments))
        began, late = time.monotonic(), False
        while True:
            status = self._begin(write, waiting, flight)
            late = late or (bool(waiting) and write.late)
            if status == DONE:
                status = flight.settle()
            now = time.monotonic()
            if status == DONE and late:
                return LATE, True
            if status == DONE and not waiting:
                self._pace.learn(write.ticket.bytes, now - began)
                return "", True
            if self.closed:
                return self._give_up(flight, _CLOSED)
            if status not in (RUNNING, DONE) or flight.is_overdue(now):
                what = _WORDS.get(status, f"failed with code {status}")
                # What ended before is complete, but nobody says what this one left in flight.
                self._met = False
                probed = self._probe(_LATE_PROBE_S) or "it answers a probe"
                return self._give_up(flight, f"Mooncake's write to {self._info.session} {what}; {probed}", failed=True)
            if status == RUNNING:
                time.sleep(self._pace.pause_s(flight.size, now - flight.since))

    def _begin(self, write: Write, waiting: deque[Segment], flight: Flight) -> int:
        """Begins as many pieces as may be under way; returns DONE, or NOT_STARTED when the engine takes one not."""
        while waiting and flight.has_room and not write.late and not self.closed:
            segment = waiting.popleft()
            if not flight.begin(self._source + segment.source, self._info.base + segment.target, segment.length):
                return NOT_STARTED
        return DONE

    def _give_up(self, flight: Flight, problem: str, *, failed: bool = False) -> tuple[str, bool]:
        """Leaves what is under way to the engine, which ends it some time."""
        self._abandoned += flight.jobs
        return problem, not flight.jobs and not failed

    def _meet(self) -> str:
        """Returns why the peer cannot be reached at first, empty when it can; names the metadata server's part."""
        problem = self._probe(self._settings.timeout_s)
        if not problem or self._registration is None:
            return problem
        if self._registration.has_come_back(self._info.session):
            return self._probe(self._settings.timeout_s)
        return f"{problem}, and {self._registration.whereabouts(self._info.session)}"

    def _probe(self, timeout_s: float) -> str:
        """Returns why the peer does not answer, empty when it does.

        A probe of a process that stands still takes a minute whatever is set: it is left to itself.
        """
        codes: list[int] = []
        probe = threading.Thread(
            target=lambda engine, session: codes.append(int(engine.send_probe(session))),
            args=(self._engine, self._info.session),
            name="mooncake probe",
            daemon=True,
        )
        probe.start()
        deadline = time.monotonic() + timeout_s
        while probe.is_alive() and not self.closed and (left := deadline - time.monotonic()) > 0:
            probe.join(min(left, _LOOK_S))
        if not codes:
            return f"it answered no probe within {timeout_s:g} s"
        return f"it answers no probe (code {codes[0]})" if codes[0] else ""


@dataclass(frozen=True, slots=True)
class Registry:
    """The metadata server that an engine registers with.

    Attributes:
        server: its URL, http://HOST:PORT/metadata or etcd://HOST:PORT.
        port: tells people in the registered name which process it is; Mooncake does not listen on it.
    """

    server: str
    port: int


class MooncakeEndpoint:
    """This process's Transfer Engine.

    Args:
        host: address that peers reach this process at.
        device: RDMA devices, comma separated; empty chooses by topology.
        registry: the metadata server; None exchanges metadata from peer to peer.

    Raises:
        TransferError: mooncake cannot be imported or does not start; the text says why.
    """

    kind = "mooncake"
    failure = ""

    def __init__(
        self,
        host: str,
        device: str,
        settings: TransferSettings,
        *,
        protocol: str,
        registry: Registry | None = None,
    ) -> None:
        try:
            module = importlib.import_module("mooncake.engine")
        except ImportError as error:
            raise TransferError(f"Mooncake cannot be imported: {error}", quiesced=True) from None
        self._engine: Any = module.TransferEngine()
        self._settings = settings
        self._host = reachable_host(host)
        self._name = ""
        if registry is None:
            code = self._engine.initialize(self._host, P2P, protocol, device)
        else:
            # A name is opaque to Mooncake, and peers keep what they once read of it: a restart needs another one.
            self._name = f"{self._host.replace(':', '-')}-{secrets.token_hex(4)}:{registry.port}"
            code = self._engine.initialize(self._name, registry.server, protocol, device)
        if code != 0:
            where = f" with the metadata server {registry.server}" if registry else ""
            raise TransferError(f"Mooncake's engine does not start{where} (code {code}).", quiesced=True)
        self._registration = Registration(registry.server, self._name) if registry else None
        self._pool = WritePool("mooncake", queues=settings.queues, threads=settings.threads)
        self._region = (0, 0)
        self._links: list[_MooncakeLink] = []

    def register(self, address: int, length: int, file: int = -1) -> None:
        """Makes the region known to the engine."""
        code = self._engine.register_memory(address, length)
        if code != 0:
            raise TransferError(f"Mooncake refused to register {length} bytes (code {code}).", quiesced=True)
        self._region = (address, length)
        if self._registration is not None:
            self._registration.keep()

    def describe(self) -> EndpointInfo:
        """Returns what a peer needs to connect."""
        session = self._name or f"{self._host}:{self._engine.get_rpc_port()}"
        return EndpointInfo(self.kind, session, *self._region)

    def connect(self, info: EndpointInfo) -> _MooncakeLink:
        """Opens a link; Mooncake connects with the first write."""
        if info.kind != self.kind:
            raise TransferError(f"The peer's transport is {info.kind}, ours is {self.kind}.", quiesced=True)
        link = _MooncakeLink(self._engine, self._region, info, self._settings, self._pool, self._registration)
        now = time.monotonic()
        self._links = [*(known for known in self._links if not (known.closed and known.is_still(now))), link]
        return link

    def close(self) -> None:
        """Ends all links and the engine; its ports and threads go with the last reference to it.

        An engine that still reads or writes at the hard timeout is left as it is: without its memory it would take
        the process down. So is one whose metadata server has gone: it would wait for it three times over, with
        Python's lock held, to take its entries back.
        """
        if self._registration is not None:
            self._registration.close()
        for link in self._links:
            link.close()
        self._pool.close()
        deadline = time.monotonic() + self._settings.hard_timeout_s
        if not all([link.is_still(deadline) for link in self._links]):
            return
        self._links = []
        if self._registration is not None and not self._registration.is_answered():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._engine))  # never destroyed, not even at the exit
            self._engine = None
            return
        if self._region[1]:
            self._engine.unregister_memory(self._region[0])
            self._region = (0, 0)
        self._engine = None
