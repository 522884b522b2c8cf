"""The character device through which a process reaches an RDMA device, and whether this user may.

In a container every RDMA device of the host is listed, but only those whose node was handed in can be opened.
That a node can be opened is a fact of the user and not of the kernel's files, so the facts of the host or of the
capture are asked. Called by `sysfs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..reading import Reading
from ..sources.files import HostFiles

__all__ = ["VerbsNode", "VerbsNodes"]

_FOLDER = "sys/class/infiniband_verbs"


@dataclass(frozen=True, slots=True)
class VerbsNode:
    """The node of one device.

    Attributes:
        node: such as /dev/infiniband/uverbs0; unreadable unless this user may read and write it.
        accessible: None when nobody looked.
        remedy: how to get at it, as an instruction; empty when it is accessible or nobody knows.
    """

    node: Reading[str]
    accessible: bool | None
    remedy: str = ""


class VerbsNodes:
    """The nodes of all devices of one host, found once.

    Args:
        files: the host's files and facts.
    """

    def __init__(self, files: HostFiles) -> None:
        self._live = files.live
        self._known = files.names(_FOLDER)
        # Beside uverbsN lies the plain file abi_version.
        entries = [name for name in self._known.otherwise(()) if name.startswith("uverbs")]
        devices = {entry: files.text(f"{_FOLDER}/{entry}/ibdev") for entry in entries}
        self._nodes = {device.value: f"/dev/infiniband/{entry}" for entry, device in devices.items() if device.known}
        table = files.facts().get("devices")
        self._devices: Mapping[object, object] | None = table if isinstance(table, Mapping) else None

    def of(self, device: str) -> VerbsNode:
        """Returns the node of the RDMA device `device`."""
        node = self._nodes.get(device)
        if node is not None:
            return self._judged(node)
        if self._known.value or self._live:
            reason = "has no uverbs device, since the kernel module ib_uverbs is not loaded or does not serve it"
            missing: Reading[str] = Reading.unreadable(f"/{_FOLDER}", reason)
            return VerbsNode(missing, False, "run modprobe ib_uverbs")
        return VerbsNode(Reading.unreadable(self._known.source, "is not in the capture"), None)

    def _judged(self, node: str) -> VerbsNode:
        if self._devices is None:
            who = "nobody looked" if self._live else "the capture does not say"
            return VerbsNode(Reading.unreadable(node, f"{who} whether it can be opened"), None)
        facts = self._devices.get(node)
        if not isinstance(facts, Mapping) or facts.get("kind") == "absent":
            return VerbsNode(
                Reading.unreadable(node, "does not exist here, although the kernel lists the device"),
                False,
                "start the container with --device=/dev/infiniband",
            )
        if facts.get("kind") not in (None, "character"):
            return VerbsNode(
                Reading.unreadable(node, f"is no character device but {str(facts['kind'])[:20]}"),
                False,
                "remove it and hand in the host's node with --device=/dev/infiniband",
            )
        lacking = [right for right, key in (("read", "readable"), ("write", "writable")) if facts.get(key) is False]
        if lacking:
            return VerbsNode(
                Reading.unreadable(node, f"gives this user no permission to {' or '.join(lacking)} it"),
                False,
                f"let the user read and write it (chmod 666 {node}, a udev rule, or the group that owns it)",
            )
        if facts.get("readable") is not True or facts.get("writable") is not True:
            return VerbsNode(
                Reading.unreadable(node, "may or may not be open to this user: the facts do not say"), None
            )
        return VerbsNode(Reading(node, node), True)
