"""What the shared-memory transport does beyond the common contract."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec
import numpy as np
import pytest
from pdpanel.engine.errors import TransferError
from pdpanel.engine.transfer.api import Segment, TicketState
from pdpanel.engine.transfer.memory import SharedMemory, file_name, open_file_of
from transports import Memory, open_end, settle


def test_a_peer_elsewhere_is_refused_with_the_transports_that_reach_it(memory: Memory) -> None:
    """The error says where the peer is and what to use instead."""
    endpoint = open_end("shm")
    memory.register_with(endpoint)
    info = endpoint.describe()
    boot, namespace, pid = info.session.split("/")
    for session, where in ((f"other/{namespace}/{pid}", "another host"), (f"{boot}/1/{pid}", "PID namespace")):
        with pytest.raises(TransferError, match=f"{where}.*mooncake or tcp"):
            endpoint.connect(msgspec.structs.replace(info, session=session))
    with pytest.raises(TransferError, match="describes itself as 'nonsense'"):
        endpoint.connect(msgspec.structs.replace(info, session="nonsense"))
    endpoint.close()


def test_memory_of_this_process_alone_is_refused() -> None:
    """Private memory, and any file that is not such memory."""
    endpoint = open_end("shm")
    private = np.zeros(4096, np.uint8)
    with socket.socket() as other:
        for file in (-1, other.fileno()):
            with pytest.raises(TransferError, match="can be shared"):
                endpoint.register(private.ctypes.data, private.nbytes, file)
    endpoint.close()


def test_only_the_named_memory_is_opened_and_nobody_can_shrink_it() -> None:
    """A shrunk file would end whoever writes into it with SIGBUS."""
    first, second = SharedMemory(4096), SharedMemory(4096)
    assert file_name(first.file) != file_name(second.file)
    opened = open_file_of(os.getpid(), file_name(second.file))
    assert os.fstat(opened).st_ino == os.fstat(second.file).st_ino
    os.close(opened)
    for size in (0, 8192):
        with pytest.raises(PermissionError):
            os.ftruncate(first.file, size)
    for name in ("", "0" * 32):
        with pytest.raises(LookupError):
            open_file_of(os.getpid(), name)


def test_memory_goes_with_its_last_user() -> None:
    """Nothing is left in /dev/shm, and its descriptor is closed with the object."""
    before = set(Path("/dev/shm").iterdir())
    memory = SharedMemory(4096)
    file = memory.file
    assert set(Path("/dev/shm").iterdir()) == before
    del memory
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)


def test_a_link_to_itself_works(memory: Memory) -> None:
    endpoint = open_end("shm")
    own = Memory(8192)
    own.register_with(endpoint)
    expected = own.bytes[:4096].tobytes()
    settle(endpoint.connect(endpoint.describe()).write([Segment(0, 4096, 4096)]), TicketState.DONE)
    assert own.bytes[4096:].tobytes() == expected
    endpoint.close()
