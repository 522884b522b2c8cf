"""The process that holds a worker's NIXL agent: `python -m pdpanel.engine.transfer.nixl_agent SOCKET WORKER_PID`.

NIXL ends its process with a segmentation fault at the interpreter's exit and may abort it at other times
(transports.md 9), so it has one of its own, which maps the worker's staging memory and leaves by os._exit. It ends
with the worker: by the closed socket, and by a signal of the kernel should it be busy. The only file that imports nixl.
"""

from __future__ import annotations

import ctypes
import importlib
import mmap
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec

from .memory import address_of
from .nixl_wire import Command, Describe, Give, Leave, Meet, Post, Registered, Report, Settled, Started
from .write_queue import LATE

__all__ = ["main"]

_PACKET_BYTES = 1 << 20
_PR_SET_PDEATHSIG = 1
# The library's thread sleeps in poll() and wakes for work at once; NIXL's own pause of none costs an eighth of a core.
_PROGRESS_PAUSE_US = 10_000
_PAUSE_SHARE, _SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 1 / 8, 50e-6, 2e-3


def _open_agent() -> Any:
    module: Any = importlib.import_module("nixl_cu12._api")
    base: Any = module.nixlBind.nixlAgentConfig

    class _Config(base):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, _PROGRESS_PAUSE_US if name == "pthrDelay" else value)

    module.nixlBind.nixlAgentConfig = _Config
    # A name is never used twice: peers refuse a second agent of the same name.
    name = f"pdpanel-{os.urandom(8).hex()}"
    agent = module.nixl_agent(name, module.nixl_agent_config(backends=["UCX"], enable_prog_thread=True))
    if "UCX" not in agent.backends:
        raise RuntimeError("its UCX plugin is missing")
    return agent


def _word(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()


@dataclass(slots=True)
class _Peer:
    """Another agent; `name` is empty until it is made known to ours, and again when its connection broke."""

    metadata: bytes
    name: str = ""
    links: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Active:
    """A write that NIXL has not ended; without a number nobody waits for it any more."""

    handle: Any
    peer: _Peer
    began: float
    ends: float
    number: int | None


class _Agent:
    def __init__(self, agent: Any, connection: socket.socket) -> None:
        self._agent = agent
        self._connection = connection
        self._commands = msgspec.msgpack.Decoder(Command)
        self._map: mmap.mmap | None = None
        self._address = 0
        self._peers: dict[bytes, _Peer] = {}
        self._links: dict[int, _Peer] = {}
        self._active: list[_Active] = []

    def serve(self) -> None:
        """Takes commands until the worker has closed the socket."""
        while True:
            ready, _, _ = select.select([self._connection], [], [], self._pause())
            if ready:
                packet, files, _, _ = socket.recv_fds(self._connection, _PACKET_BYTES, 1)
                if not packet:
                    return
                self._take(self._commands.decode(packet), files)
            self._poll()

    def say(self, report: Report) -> None:
        self._connection.sendall(msgspec.msgpack.encode(report))

    def _pause(self) -> float | None:
        if not self._active:
            return None
        elapsed = time.monotonic() - max(active.began for active in self._active)
        return min(max(elapsed * _PAUSE_SHARE, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)

    def _take(self, command: Command, files: list[int]) -> None:
        match command:
            case Describe(length=length):
                self._describe(files[0], length)
            case Meet(link=link, metadata=metadata):
                peer = self._peers.setdefault(metadata, _Peer(metadata))
                peer.links.add(link)
                self._links[link] = peer
            case Post():
                self._post(command)
            case Give(number=number):
                for active in self._active:
                    if active.number == number:
                        active.number = None
            case Leave(link=link):
                peer = self._links.pop(link)
                peer.links.discard(link)
                if not peer.links:
                    del self._peers[peer.metadata]
                    self._forget(peer)

    def _describe(self, file: int, length: int) -> None:
        try:
            self._map = mmap.mmap(file, length)
            os.close(file)
            self._address = address_of(self._map)
            self._agent.register_memory([(self._address, length, 0, "")], "DRAM")
            self.say(Registered(self._agent.name, self._agent.get_agent_metadata(), self._address, ""))
        except Exception as error:
            self.say(Registered("", b"", 0, _word(error)))

    def _post(self, post: Post) -> None:
        if (peer := self._links.get(post.link)) is None:
            self.say(Settled(post.number, "the link is closed", True))
            return
        begun = False
        try:
            if not peer.name:
                name = self._agent.add_remote_agent(peer.metadata)
                peer.name = name.decode() if isinstance(name, bytes) else name
            local = [(self._address + source, length, 0) for source, _, length in post.segments]
            remote = [(target, length, 0) for _, target, length in post.segments]
            handle = self._agent.initialize_xfer(
                "WRITE",
                self._agent.get_xfer_descs(local, "DRAM"),
                self._agent.get_xfer_descs(remote, "DRAM"),
                peer.name,
            )
            now = time.monotonic()
            if now >= post.not_after:
                self.say(Settled(post.number, LATE, True))
                return
            begun = True
            self._agent.transfer(handle)
            self._active.append(_Active(handle, peer, now, now + post.limit_s, post.number))
        except Exception as error:
            self._forget(peer)
            self.say(Settled(post.number, _word(error), not begun))

    def _poll(self) -> None:
        for active in list(self._active):
            try:
                state = self._agent.check_xfer_state(active.handle)
                problem = "" if state == "DONE" else f"NIXL reports {state}"
            except Exception as error:
                state, problem = "ERR", _word(error)
            if state == "PROC":
                if active.number is not None and time.monotonic() > active.ends:
                    self.say(Settled(active.number, "it timed out", False))
                    active.number = None
                continue
            self._active.remove(active)
            self._release(active.handle)
            if problem:
                self._forget(active.peer)
            if active.number is not None:
                self.say(Settled(active.number, problem, not problem))

    def _release(self, handle: Any) -> None:
        try:
            self._agent.release_xfer_handle(handle)
        except Exception as error:
            print(f"NIXL does not release a transfer: {_word(error)}", file=sys.stderr)

    def _forget(self, peer: _Peer) -> None:
        """Drops what NIXL knows of a peer: after a broken connection only a new one works."""
        if not peer.name or any(active.peer is peer for active in self._active):
            return
        name, peer.name = peer.name, ""
        try:
            self._agent.remove_remote_agent(name)
        except Exception as error:
            print(f"NIXL does not forget {name}: {_word(error)}", file=sys.stderr)


def main(argv: list[str]) -> None:
    """Serves the worker; never returns."""
    code = 1
    try:
        connection = socket.socket(fileno=int(argv[0]))
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the worker's terminal; it ends us itself
        if os.getppid() == int(argv[1]):
            try:
                agent = _Agent(_open_agent(), connection)
            except Exception as error:
                connection.sendall(msgspec.msgpack.encode(Started(_word(error))))
            else:
                agent.say(Started(""))
                agent.serve()
                code = 0
    except OSError:
        pass  # the worker has gone
    except Exception as error:
        print(f"NIXL's agent broke: {_word(error)}", file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
