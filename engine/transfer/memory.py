"""Memory that another process of the same host can map: an anonymous file (memfd) with a secret name.

Chosen over files in /dev/shm because nothing is left behind however its processes end, because its size does not count
against a container's small /dev/shm, and because it can be sealed: nobody can shrink it, so that no access to it ever
ends a process with SIGBUS. It is opened by way of /proc/PID/fd, which the kernel permits to processes of the same user
alone; the secret in the name tells a process from a later one with the same number.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import secrets
import weakref
from pathlib import Path

__all__ = ["SharedMemory", "address_of", "file_name", "is_sealed", "open_file_of"]

_PREFIX = "pdpanel-kv-"
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def address_of(memory: mmap.mmap) -> int:
    """Returns the address of a mapping's first byte; the caller keeps the mapping alive."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


class SharedMemory:
    """`length` zero bytes in an anonymous file of this process.

    Attributes:
        file: its descriptor, open as long as this object lives.
        map: the bytes; whoever holds a view keeps them mapped.

    Raises:
        OSError: the memory cannot be had.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self.file = os.memfd_create(_PREFIX + secrets.token_hex(16), os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._finalizer = weakref.finalize(self, os.close, self.file)
        os.ftruncate(self.file, length)
        fcntl.fcntl(self.file, fcntl.F_ADD_SEALS, _SEALS)
        self.map = mmap.mmap(self.file, length)


def file_name(file: int) -> str:
    """Returns the secret name of an open anonymous file; empty for any other file."""
    link = os.readlink(f"/proc/self/fd/{file}")
    _, found, name = link.removesuffix(" (deleted)").partition(f"/memfd:{_PREFIX}")
    return name if found else ""


def is_sealed(file: int) -> bool:
    """Returns whether nobody can shrink the file."""
    try:
        return bool(fcntl.fcntl(file, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK)
    except OSError:
        return False


def open_file_of(pid: int, name: str) -> int:
    """Opens the anonymous file with this secret name that a process holds.

    Returns:
        its descriptor; the caller closes it.

    Raises:
        OSError: there is no such process, or it may not be looked into.
        LookupError: the process holds no such file: it is another one with the same number.
    """
    if not name:
        raise LookupError(f"process {pid} does not name its memory")
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if name not in os.readlink(entry):
                continue
            file = os.open(entry, os.O_RDWR | os.O_CLOEXEC)
            if file_name(file) == name and is_sealed(file):
                return file
            os.close(file)
    raise LookupError(f"process {pid} holds no such memory")
