"""KV through Mooncake's Transfer Engine, with metadata from peer to peer or from a server.

Facts that shape this file (transports.md): every failure is an int, and -1 tells no causes apart, so a probe of the
peer is reported beside it; an unregistered source is accepted and reported as success, so sources are checked here;
the synchronous calls poll in a busy loop and cost a core, so writes are submitted and polled with a pause that grows;
a time-out ends the wait, not the transfer, so such a write is not quiet; a submit that fails returns 0 or -1 by
version, and asking for the status of such a job ends the process; the first write to a peer that accepts connections
but does not answer blocks the writes to all peers for a minute, so a peer is probed, off the link's thread, before it.
Both ports of an engine listen on all addresses whatever is set. The only file that imports mooncake.
"""

from __future__ import annotations

import ctypes
import importlib
import secrets
import threading
import time
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import TransferError
from ..mooncake_config import P2P
from .address import reachable_host
from .api import EndpointInfo, TransferSettings
from .plan import Segment, outside
from .registration import Registration
from .ticket import WriteTicket
from .write_pool import Write, WritePool
from .write_queue import LATE, WriteQueue

__all__ = ["MooncakeEndpoint", "Registry", "apply_environment", "mooncake_environment"]

_RUNNING, _DONE, _TIMED_OUT = 0, 1, -2
_NO_JOBS = (0, -1, (1 << 64) - 1)
_NOT_STARTED = -1000  # ours
_LATE_PROBE_S = _GRACE_S = 1.0
_LOOK_S = 0.05
_GIVEN_UP = -1001  # ours
_WORDS = {_RUNNING: "timed out", _TIMED_OUT: "timed out", _NOT_STARTED: "could not be started"}
# A pause is an eighth of the time that the write has taken already: it ends at most an eighth late, and a slow one
# is asked a few hundred times a second, where the synchronous call would spin.
_PAUSE_SHARE, _SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 1 / 8, 20e-6, 2e-3


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


class _MooncakeLink:
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
        self._queue = WriteQueue(pool, f"mooncake {info.session}", self._write)

    @property
    def closed(self) -> bool:
        """True from the moment on when `close` was called."""
        return self._queue.closed

    def write(self, segments: Sequence[Segment], not_after: float | None = None) -> WriteTicket:
        """Starts writing; returns at once."""
        return self._queue.put(segments, not_after)

    def close(self) -> None:
        """Ends the link; the write that runs is given up, and not quiet: the engine goes on until it ends it."""
        self._queue.close()

    def is_still(self, deadline: float) -> bool:
        """Waits until the engine has ended the writes that were given up; False when it has not at the deadline."""
        while self._abandoned:
            job = self._abandoned[-1]
            while int(self._engine.transfer_check_status(job)) == _RUNNING:
                if time.monotonic() > deadline:
                    return False
                time.sleep(_LONGEST_PAUSE_S)
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
        for segment in segments:
            if write.late:  # every earlier segment is complete
                ticket.fail(LATE, quiesced=True)
                return
            status = self._write_segment(segment)
            if status == _GIVEN_UP:
                ticket.fail("the link was closed before the write was complete", quiesced=False)
                return
            if status != _DONE:
                what = _WORDS.get(status, f"failed with code {status}")
                # Earlier segments are complete and later ones never began, but nobody says what this one left in
                # flight.
                self._met = False
                probed = self._probe(_LATE_PROBE_S) or "it answers a probe"
                ticket.fail(f"Mooncake's write to {self._info.session} {what}; {probed}", quiesced=False)
                return
        ticket.done()

    def _write_segment(self, segment: Segment) -> int:
        if not segment.length:
            return _DONE
        target = self._info.base + segment.target
        job = self._engine.transfer_submit_write(
            self._info.session, self._source + segment.source, target, segment.length
        )
        if job in _NO_JOBS:
            return _NOT_STARTED
        began = time.monotonic()
        # Mooncake's own limit is a little shorter, and ends the job itself.
        limit = self._settings.limit_s(segment.length) + _GRACE_S
        while (status := int(self._engine.transfer_check_status(job))) == _RUNNING:
            elapsed = time.monotonic() - began
            if elapsed > limit:
                self._abandoned.append(job)
                return _RUNNING
            if self.closed:
                self._abandoned.append(job)
                return _GIVEN_UP
            time.sleep(min(max(elapsed * _PAUSE_SHARE, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S))
        return status

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
