"""KV within one host: the writer maps the peer's staging memory and copies into it.

The peer takes no part in a write, so one that stands still takes bytes like any other, and when a copy has ended
nothing is in flight: every ticket of this transport is quiet. What the writer must find out by itself is whether the
peer still lives, since a copy into the memory of a dead process succeeds; a pidfd tells. The other side's kernel,
process numbers and user must be ours; where they are not, the error names the transports that work.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import select
from dataclasses import dataclass
from pathlib import Path

from ..errors import TransferError
from .api import EndpointInfo, TransferSettings
from .memory import address_of, file_name, open_file_of
from .plan import outside
from .write_pool import Write, WritePool
from .write_queue import LATE, QueuedLink

__all__ = ["ShmEndpoint"]

# Closing a link waits for one piece: a few milliseconds.
_PIECE_BYTES = 8 << 20
_REMEDY = "use --disaggregation-transfer-backend mooncake or tcp on both sides"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a process is: its kernel, its namespace of process numbers, its number."""

    boot: str
    namespace: str
    pid: int

    @classmethod
    def own(cls) -> _Place:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return cls(boot, str(os.stat("/proc/self/ns/pid").st_ino), os.getpid())

    @classmethod
    def parse(cls, session: str) -> _Place:
        boot, namespace, pid = session.split("/")
        return cls(boot, namespace, int(pid))

    def __str__(self) -> str:
        return f"{self.boot}/{self.namespace}/{self.pid}"


class _Attachment:
    """A peer's memory, mapped, and a handle on its process.

    Raises:
        OSError: the process cannot be looked into.
        LookupError: it is not the one that described the memory.
    """

    def __init__(self, pid: int, info: EndpointInfo) -> None:
        # The peer had this number before it described itself: if a process that holds the memory has it after the
        # handle was taken, the handle is on the peer.
        self._process = os.pidfd_open(pid)
        self._poll = select.poll()
        self._poll.register(self._process, select.POLLIN)
        try:
            file = self._open(pid, info.secret)
        except BaseException:
            os.close(self._process)
            raise
        try:
            size = os.fstat(file).st_size
            self._map = mmap.mmap(file, size)
        finally:
            os.close(file)
        self.length = min(size, info.length)
        self.address = address_of(self._map)

    def _open(self, pid: int, secret: str) -> int:
        try:
            return open_file_of(pid, secret)
        except PermissionError:
            if self.is_alive:
                raise
            raise ProcessLookupError from None  # one that nobody has waited for yet

    @property
    def is_alive(self) -> bool:
        """False once the process has ended."""
        return not self._poll.poll(0)

    def close(self) -> None:
        """Gives the handle up; the mapping goes with this object."""
        os.close(self._process)


class _ShmLink(QueuedLink):
    def __init__(self, source: tuple[int, int], info: EndpointInfo, own: _Place, pool: WritePool) -> None:
        self._source, self._source_length = source
        self._info = info
        self._peer = _Place.parse(info.session)
        if (self._peer.boot, self._peer.namespace) != (own.boot, own.namespace):
            where = "host" if self._peer.boot != own.boot else "container or other PID namespace"
            raise TransferError(
                f"The transport shm reaches processes of this host alone, and the peer runs on another {where}: "
                f"{_REMEDY}.",
                quiesced=True,
            )
        self._attached: _Attachment | None = None
        super().__init__(pool, f"shm {info.session}")

    def close(self) -> None:
        """Ends the link; a write that runs ends within the piece it is at, and fails."""
        super().close()
        if (attached := self._attached) is not None:
            self._attached = None
            attached.close()

    def _attach(self) -> _Attachment:
        pid = self._peer.pid
        try:
            return _Attachment(pid, self._info)
        except (FileNotFoundError, ProcessLookupError):
            problem = f"process {pid} does not run any more"
        except PermissionError:
            problem = f"process {pid} may not be looked into, it belongs to another user or is protected: {_REMEDY}"
        except (OSError, LookupError) as error:
            problem = str(error)
        raise TransferError(f"The peer's memory cannot be mapped: {problem}", quiesced=True)

    def _write(self, write: Write) -> None:
        if problem := outside(write.segments, self._source_length, self._info.length):
            write.ticket.fail(problem, quiesced=True)
            return
        try:
            attached = self._attached = self._attached or self._attach()
        except TransferError as error:
            write.ticket.fail(str(error), quiesced=True)
            return
        if problem := self._copy(write, attached):
            write.ticket.fail(problem, quiesced=True)
        else:
            write.ticket.done()

    def _copy(self, write: Write, attached: _Attachment) -> str:
        """Copies; returns why not all of it, empty when all."""
        gone = f"the peer's process {self._peer.pid} has ended"
        for segment in write.segments:
            if not attached.is_alive:
                return gone
            if segment.target + segment.length > attached.length:
                return f"{self._info.session} refused {segment}: it lies outside of its memory"
            if write.late:
                return LATE
            for done in range(0, segment.length, _PIECE_BYTES):
                if self.closed:
                    return "the link was closed before the write was complete"
                size = min(_PIECE_BYTES, segment.length - done)
                source, target = self._source + segment.source + done, attached.address + segment.target + done
                ctypes.memmove(target, source, size)  # without Python's lock
        return "" if attached.is_alive else gone


class ShmEndpoint:
    """This process's staging memory, for peers on the same host, and links to theirs.

    Raises:
        TransferError: this system cannot do it.
    """

    kind = "shm"
    failure = ""

    def __init__(self, settings: TransferSettings) -> None:
        if not hasattr(os, "pidfd_open") or not hasattr(os, "memfd_create"):
            raise TransferError(f"The transport shm needs Linux: {_REMEDY}.", quiesced=True)
        self._own = _Place.own()
        self._pool = WritePool("shm", queues=settings.queues, threads=settings.threads)
        self._region = (0, 0)
        self._secret = ""
        self._links: list[_ShmLink] = []

    def register(self, address: int, length: int, file: int = -1) -> None:
        """Makes the region readable for our links, and writable for peers by way of its file."""
        if file < 0 or not (name := file_name(file)):
            raise TransferError("The transport shm needs staging memory that can be shared.", quiesced=True)
        self._region, self._secret = (address, length), name

    def describe(self) -> EndpointInfo:
        """Returns what a peer needs to connect; the secret names the memory."""
        return EndpointInfo(self.kind, str(self._own), *self._region, self._secret)

    def connect(self, info: EndpointInfo) -> _ShmLink:
        """Opens a link; it maps the peer's memory with the first write."""
        if info.kind != self.kind:
            raise TransferError(f"The peer's transport is {info.kind}, ours is {self.kind}.", quiesced=True)
        try:
            link = _ShmLink(self._region, info, self._own, self._pool)
        except ValueError:
            raise TransferError(f"The peer describes itself as {info.session!r}.", quiesced=True) from None
        self._links = [*(known for known in self._links if not known.closed), link]
        return link

    def close(self) -> None:
        """Ends all links and threads."""
        for link in self._links:
            link.close()
        self._pool.close()
