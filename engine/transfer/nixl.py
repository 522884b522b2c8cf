"""KV through NIXL, whose agent lives in a process of its own (`nixl_agent`) with the same staging memory mapped.

That process may die at any time: then its writes fail, and so do all later ones, each saying so, while the worker goes
on. A write is posted in batches; the next begins when one has ended. The agent's process takes peers' writes even
while the worker itself stands still.
"""

from __future__ import annotations

import base64
import importlib.util
import ipaddress
import itertools
import logging
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from ..errors import TransferError
from ..log import record
from .api import EndpointInfo, TransferSettings
from .nixl_wire import Command, Describe, Give, Leave, Meet, Post, Registered, Report, Settled, Started
from .plan import Segment, outside
from .write_pool import Write, WritePool
from .write_queue import LATE, QueuedLink

__all__ = ["NixlEndpoint"]

_PACKAGE = "nixl_cu12"
_START_S = 30.0
_END_S = 5.0
_GRACE_S = 1.0
_LOOK_S = 0.05
_BATCH = 1024  # segments; a packet of the socket holds some thousands


def _environment(environ: Mapping[str, str], host: str, device: str) -> dict[str, str]:
    """Returns the agent's variables; UCX would listen on all interfaces, also for a worker on the loopback."""
    values = {"NIXL_LOG_LEVEL": "WARN"}
    if device:
        values["UCX_NET_DEVICES"] = ",".join(name if ":" in name else f"{name}:1" for name in device.split(","))
    elif _is_loopback(host):
        values["UCX_NET_DEVICES"] = "lo"
    return values | dict(environ)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(slots=True)
class _Reply:
    settled: threading.Event = field(default_factory=threading.Event)
    report: Report | None = None


class _AgentProcess:
    """The agent's process and the thread that started it and listens to it.

    Raises:
        TransferError: it does not start.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.ended = ""
        self._replies: dict[int, _Reply] = {}
        self._lock = threading.Lock()
        self._closing = False
        self._connection, self._other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        limit = struct.pack("@ll", int(_END_S), 0)  # a process that stands still reads nothing
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        self._process: subprocess.Popen[bytes] | None = None
        started = self._replies[0] = _Reply()
        # The kernel's signal at a parent's death goes by the thread that started the child: this one lives as long.
        self._thread = threading.Thread(target=self._listen, args=(dict(environment),), name="nixl", daemon=True)
        self._thread.start()
        if not started.settled.wait(_START_S):
            self.ended = self.ended or f"it did not answer within {_START_S:g} s"
        problem = started.report.error if isinstance(started.report, Started) else self.ended
        if problem:
            self.close()
            raise TransferError(f"NIXL's agent does not start: {problem}.", quiesced=True)

    def ask(self, number: int, command: Command, files: Sequence[int] = ()) -> _Reply:
        """Sends a command whose report carries `number`."""
        reply = _Reply()
        with self._lock:
            if self.ended:
                reply.settled.set()
                return reply
            self._replies[number] = reply
        self.tell(command, files)
        return reply

    def tell(self, command: Command, files: Sequence[int] = ()) -> None:
        """Sends a command that is not answered; nothing happens when the process has ended."""
        try:
            socket.send_fds(self._connection, [msgspec.msgpack.encode(command)], list(files))
        except OSError:
            return  # the listener hears of it, too

    def forget(self, number: int) -> None:
        """Waits for this report no more."""
        with self._lock:
            self._replies.pop(number, None)

    def close(self) -> None:
        """Ends the process."""
        self._closing = True
        with self._lock:
            process = self._process
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        if process is not None:
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
        self._thread.join()
        self._connection.close()

    def _listen(self, environment: dict[str, str]) -> None:
        decoder = msgspec.msgpack.Decoder(Report)
        command = [sys.executable, "-m", f"{__package__}.nixl_agent", str(self._other.fileno()), str(os.getpid())]
        try:
            with self._other:
                process = subprocess.Popen(
                    command,
                    env=environment,
                    pass_fds=(self._other.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                )
            with self._lock:
                self._process = process
            while packet := self._receive():
                report = decoder.decode(packet)
                number = report.number if isinstance(report, Settled) else 0
                with self._lock:
                    reply = self._replies.pop(number, None)
                if reply is not None:
                    reply.report = report
                    reply.settled.set()
            code = process.wait()
            problem = f"it was ended by signal {-code}" if code < 0 else f"it ended with code {code}"
        except OSError as error:
            problem = str(error)
        with self._lock:
            self.ended = self.ended or problem
            replies = list(self._replies.values())
            self._replies.clear()
        if not self._closing:
            record("transport_broke", level=logging.ERROR, transport="nixl", reason=problem)
        for reply in replies:
            reply.settled.set()

    def _receive(self) -> bytes:
        try:
            return self._connection.recv(1 << 20)
        except OSError:
            return b""


class _NixlLink(QueuedLink):
    def __init__(
        self,
        agent: _AgentProcess,
        numbers: itertools.count[int],
        source_bytes: int,
        info: EndpointInfo,
        settings: TransferSettings,
        pool: WritePool,
    ) -> None:
        self._agent = agent
        self._numbers = numbers
        self._number = next(numbers)
        self._source_bytes = source_bytes
        self._info = info
        self._settings = settings
        agent.tell(Meet(self._number, base64.b64decode(info.secret, validate=True)))
        super().__init__(pool, f"nixl {info.session}")

    def close(self) -> None:
        """Ends the link; a write that runs is given up."""
        first = not self.closed
        super().close()
        if first:
            self._agent.tell(Leave(self._number))

    def _write(self, write: Write) -> None:
        ticket = write.ticket
        if problem := outside(write.segments, self._source_bytes, self._info.length):
            ticket.fail(problem, quiesced=True)
            return
        segments = [segment for segment in write.segments if segment.length]
        for first in range(0, len(segments), _BATCH):
            problem, quiesced = self._post(segments[first : first + _BATCH], write.not_after)
            if problem:
                ticket.fail(problem, quiesced=quiesced)
                return
        ticket.done()

    def _post(self, segments: Sequence[Segment], not_after: float) -> tuple[str, bool]:
        """Writes one batch; returns what went wrong, and whether nothing is under way."""
        to = f"NIXL's write to {self._info.session}"
        if self._agent.ended:
            return f"{to} was not begun: the process of our agent has ended, {self._agent.ended}", True
        limit = self._settings.limit_s(sum(segment.length for segment in segments))
        pieces = [(segment.source, self._info.base + segment.target, segment.length) for segment in segments]
        number = next(self._numbers)
        reply = self._agent.ask(number, Post(number, self._number, pieces, not_after, limit))
        left = limit + _GRACE_S
        while not reply.settled.wait(_LOOK_S):
            left -= _LOOK_S
            if self.closed or left < 0:
                self._agent.forget(number)
                self._agent.tell(Give(number))
                return (
                    "the link was closed before the write was complete"
                    if self.closed
                    else f"{to} timed out, and its agent does not answer"
                ), False
        if not isinstance(reply.report, Settled):
            return f"{to} broke off: the process of our agent has ended, {self._agent.ended}", False
        if reply.report.error in ("", LATE):
            return reply.report.error, True
        return f"{to} failed: {reply.report.error}", reply.report.quiesced


class NixlEndpoint:
    """A NIXL agent for this worker.

    Args:
        host: address of the worker; on the loopback the agent listens there alone.
        device: RDMA devices, comma separated; empty leaves the choice to UCX.
        environ: the agent's variables; UCX reads its settings there.

    Raises:
        TransferError: the package is missing or the agent does not start; the text says why.
    """

    kind = "nixl"

    def __init__(self, host: str, device: str, settings: TransferSettings, environ: Mapping[str, str]) -> None:
        if importlib.util.find_spec(_PACKAGE) is None:
            remedy = 'install it with pip install "pdpanel[nixl]"'
            raise TransferError(f"NIXL's package {_PACKAGE} is not installed; {remedy}.", quiesced=True)
        self._settings = settings
        self._agent = _AgentProcess(_environment(environ, host, device))
        self._pool = WritePool("nixl", queues=settings.queues, threads=settings.threads)
        self._numbers = itertools.count(1)
        self._info = EndpointInfo(self.kind, "", 0, 0)
        self._links: list[_NixlLink] = []

    @property
    def failure(self) -> str:
        """Says when the agent's process has ended."""
        return f"The process of NIXL's agent has ended: {self._agent.ended}." if self._agent.ended else ""

    def register(self, address: int, length: int, file: int = -1) -> None:
        """Has the agent map and register the region by its file."""
        if file < 0:
            raise TransferError("The transport nixl needs staging memory that can be shared.", quiesced=True)
        reply = self._agent.ask(0, Describe(length), [file])
        report = reply.report if reply.settled.wait(_START_S) else None
        if not isinstance(report, Registered) or report.error:
            why = report.error if isinstance(report, Registered) else self._agent.ended or "it does not answer"
            raise TransferError(f"NIXL's agent does not register {length} bytes: {why}.", quiesced=True)
        metadata = base64.b64encode(report.metadata).decode()
        self._info = EndpointInfo(self.kind, report.name, report.address, length, metadata)

    def describe(self) -> EndpointInfo:
        """Returns what a peer needs to connect; the secret is the agent's metadata."""
        return self._info

    def connect(self, info: EndpointInfo) -> _NixlLink:
        """Opens a link; NIXL connects with the first write."""
        if info.kind != self.kind:
            raise TransferError(f"The peer's transport is {info.kind}, ours is {self.kind}.", quiesced=True)
        try:
            link = _NixlLink(self._agent, self._numbers, self._info.length, info, self._settings, self._pool)
        except ValueError as error:
            raise TransferError(f"The peer's NIXL metadata cannot be read: {error}", quiesced=True) from None
        self._links = [*(known for known in self._links if not known.closed), link]
        return link

    def close(self) -> None:
        """Ends links, threads and the agent's process."""
        for link in self._links:
            link.close()
        self._pool.close()
        self._agent.close()
