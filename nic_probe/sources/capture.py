"""Opens a capture of another host: what `--root PATH` names.

A directory that holds `sys/`, a tar archive of one (plain, gzip, bzip2 or xz) or a ttar file, each with or
without one leading folder. What it is is seen from its content, never from its name. Archives go into memory:
nothing is written to disk, and no link leads out of them. Called by the command line and the panel.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import SourceError
from .archive import ArchiveError, Limits, Unpacking
from .compressed import PlainStream
from .files import HostFiles
from .memory import MemoryTree
from .tar import looks_like_tar, read_tar
from .tree import Kind
from .ttar import looks_like_ttar, read_ttar

__all__ = ["open_capture"]

_FIELD = "--root"
# The folders whose entries are devices: each costs dozens of reads.
_LISTS = (
    "sys/class/infiniband",
    "sys/class/infiniband_verbs",
    "sys/class/net",
    "sys/class/kfd/kfd/topology/nodes",
    "sys/bus/pci/devices",
    "sys/devices/system/node",
    "proc/driver/nvidia/gpus",
)
_WANTED = "give a directory that holds sys/, or a tar archive or ttar file of one"


def open_capture(path: Path, limits: Limits | None = None) -> HostFiles:
    """Returns the files of the host that was captured at `path`.

    Reads an archive whole, which takes about a second for each 50,000 files.

    Raises:
        SourceError: there is nothing, it is no capture, it is broken or hostile.
    """
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            return _bounded(path, _open_directory(path), limits or Limits())
        if not stat.S_ISREG(mode):
            raise _error(path, "is neither a directory nor a plain file", _WANTED)
        tree = _unpack(path, limits or Limits())
    except FileNotFoundError:
        raise _error(path, "does not exist", _WANTED) from None
    except ArchiveError as error:
        raise _error(path, error.problem, error.remedy) from None
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise _error(path, f"cannot be read: {reason}", _WANTED) from None
    except MemoryError:
        raise _error(path, "does not fit into memory", "pack only sys/ and proc/ of one host") from None
    return _bounded(path, HostFiles(_rooted(path, tree)), limits or Limits())


def _bounded(path: Path, files: HostFiles, limits: Limits) -> HostFiles:
    """Returns the files; raises SourceError when they list more devices than any host has."""
    for folder in () if files.live else _LISTS:
        count = len(files.names(folder).otherwise(()))
        if count > limits.devices:
            raise _error(
                path,
                f"lists {count} devices in {folder}, more than any host has",
                "write the dump again with `pdpanel probe --dump`",
            )
    return files


def _open_directory(path: Path) -> HostFiles:
    if os.path.isdir(path / "sys"):
        return HostFiles(path)
    with os.scandir(path) as entries:
        folders = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    hosts = [name for name in folders if os.path.isdir(path / name / "sys")]
    return HostFiles(path / _only(path, hosts, folders))


def _unpack(path: Path, limits: Limits) -> MemoryTree:
    unpacking = Unpacking(limits)
    # O_NONBLOCK: a pipe may have taken the file's place meanwhile.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        stream = PlainStream(file, limits.total_bytes)
        first = stream.peek()
        if not first:
            raise ArchiveError("is empty", _WANTED)
        if looks_like_tar(first):
            read_tar(stream, unpacking)
        elif looks_like_ttar(first):
            read_ttar(stream, unpacking)
        elif first.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
            raise ArchiveError("is an XML file", "give a topology file with --topology instead")
        elif len(first) < 512:
            raise ArchiveError("is too short to be an archive", _WANTED)
        else:
            raise ArchiveError("is no archive", _WANTED)
    return unpacking.tree


def _rooted(path: Path, tree: MemoryTree) -> MemoryTree:
    """Returns the tree below the leading folder, if there is one."""
    folders = sorted(name for name, kind in tree.entries("") if kind is Kind.FOLDER)
    if "sys" in folders:
        return tree
    hosts = [name for name in folders if ("sys", Kind.FOLDER) in tree.entries(name)]
    return tree.below(_only(path, hosts, folders))


def _only(path: Path, hosts: list[str], folders: list[str]) -> str:
    if len(hosts) == 1:
        return hosts[0]
    if hosts:
        names = ", ".join(repr(name) for name in hosts[:4])
        raise _error(path, f"holds {len(hosts)} hosts ({names})", "give one of them")
    if {"class", "devices"} <= set(folders):
        raise _error(path, "holds no sys/ but looks like one itself", "give the directory above it")
    raise _error(path, "holds no sys/" if folders else "holds nothing like a host", _WANTED)


def _error(path: Path, problem: str, remedy: str) -> SourceError:
    return SourceError(_FIELD, str(path), problem, remedy)
