"""Opens a topology file: what `--topology FILE` names.

The XML of hwloc (lstopo) or of NCCL and RCCL, told apart by the root element. Nothing in the file makes this
module read or fetch anything else. Called by the command line and the panel.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import SourceError
from .hwloc_xml import read_hwloc
from .nccl_xml import read_nccl
from .safe_xml import XmlError, XmlNode, parse_xml
from .xml_host import XmlHost

__all__ = ["XmlHost", "read_topology_file"]

_FIELD = "--topology"
_MAX_BYTES = 8 << 20
_WANTED = "write one with `lstopo --of xml FILE`, or by running NCCL with NCCL_TOPO_DUMP_FILE=FILE"


def read_topology_file(path: Path) -> XmlHost:
    """Returns the host that the file describes.

    Raises:
        SourceError: there is no such file, it is too big, broken or hostile, or no topology.
    """
    try:
        root = parse_xml(_content(path))
        return _host(root, str(path))
    except XmlError as error:
        raise SourceError(_FIELD, str(path), error.problem, error.remedy) from None


def _host(root: XmlNode, source: str) -> XmlHost:
    if root.tag == "topology":
        if not any(node.tag == "object" for node in root.children):
            raise XmlError("holds no machine", _WANTED)
        return read_hwloc(root, source)
    if root.tag == "system":
        if not any(node.tag == "cpu" for node in root.children):
            raise XmlError("holds no <cpu>", _WANTED)
        return read_nccl(root, source)
    raise XmlError(f"is no topology: its outermost element is <{root.tag[:40]}>", _WANTED)


def _content(path: Path) -> bytes:
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise XmlError("is a directory", "give it with --root instead")
        if not stat.S_ISREG(mode):
            raise XmlError("is not a plain file", _WANTED)
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise XmlError("does not exist", _WANTED) from None
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise XmlError(f"cannot be read: {reason}", _WANTED) from None
    if len(content) > _MAX_BYTES:
        raise XmlError(f"has more than {_MAX_BYTES >> 20} MiB", _WANTED)
    if content.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ")):
        raise XmlError("is compressed", "unpack it first; an archive of sys/ is given with --root")
    return content
