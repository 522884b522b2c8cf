"""Whether this process lives in a container, and what its control groups leave it.

Called by `host_state`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..reading import Reading
from ..sources.files import HostFiles

__all__ = ["Container", "RdmaQuota", "probe_container"]

_MARKS = {".dockerenv": "docker", "run/.containerenv": "podman"}
_NAMES = ("docker", "kubepods", "libpod", "containerd", "crio", "lxc", "garden", "buildkit")


@dataclass(frozen=True, slots=True)
class RdmaQuota:
    """What a control group may hold of one RDMA device; None for no limit.

    Attributes:
        handles: opened devices.
        objects: queue pairs, memory regions and so on.
    """

    handles: int | None
    objects: int | None


@dataclass(frozen=True, slots=True)
class Container:
    """The container around this process.

    Attributes:
        kind: such as docker or kubepods; empty when there is none; unreadable when that cannot be told.
        rdma_max: quotas by RDMA device; empty without any.
        rdma_current: what is held of them.
        memory_limit_bytes: of the control group; unreadable without a limit.
    """

    kind: Reading[str]
    rdma_max: Reading[Mapping[str, RdmaQuota]]
    rdma_current: Reading[Mapping[str, RdmaQuota]]
    memory_limit_bytes: Reading[int]


def probe_container(files: HostFiles) -> Container:
    """Returns the container that this process, or the one that made the capture, lives in."""
    groups = files.text("proc/self/cgroup")
    unified = _path(groups.otherwise(""), "")
    rdma = unified or _path(groups.otherwise(""), "rdma", "/rdma")
    memory = _path(groups.otherwise(""), "memory", "/memory")
    limit = _of_group(files, unified, "memory.max")
    if not limit.known and memory:
        limit = files.text(f"sys/fs/cgroup{memory}/memory.limit_in_bytes")
    return Container(
        kind=_kind(files, groups),
        rdma_max=_of_group(files, rdma, "rdma.max").convert(_quotas, "RDMA quotas"),
        rdma_current=_of_group(files, rdma, "rdma.current").convert(_quotas, "RDMA counts"),
        memory_limit_bytes=limit.convert(_limit, "a limit"),
    )


def _kind(files: HostFiles, groups: Reading[str]) -> Reading[str]:
    for mark, kind in _MARKS.items():
        if files.exists(mark):
            return Reading(kind, "/" + mark)
    for name in _NAMES:
        if name in groups.otherwise(""):
            return Reading(name, groups.source)
    mounts = files.text("proc/self/mountinfo")
    for line in mounts.otherwise("").splitlines():
        words = line.split()
        # 36 35 98:0 /root /place options - type: a container's root is an overlay.
        if len(words) > 6 and words[4] == "/" and "-" in words and words[words.index("-") + 1 :][:1] == ["overlay"]:
            return Reading("overlay", mounts.source)
    return Reading("", groups.source) if groups.known else Reading(None, groups.source, groups.reason)


def _of_group(files: HostFiles, group: str, name: str) -> Reading[str]:
    """Returns a file of the group; inside a container the group is the top that it sees, whatever its path says."""
    own = files.text(f"sys/fs/cgroup{group}/{name}", may_be_empty=True)
    return own if own.known or not group else files.text(f"sys/fs/cgroup/{name}", may_be_empty=True)


def _path(groups: str, controller: str, folder: str = "") -> str:
    """Returns the place of this process in a hierarchy; the empty controller is the unified one's."""
    for line in groups.splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if controller in names.split(",") and ".." not in path:
            return folder + path.rstrip("/")
    return ""


def _quotas(text: str) -> Mapping[str, RdmaQuota] | None:
    quotas: dict[str, RdmaQuota] = {}
    for line in text.splitlines():
        device, *pairs = line.split()
        values = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        quotas[device] = RdmaQuota(_number(values.get("hca_handle", "max")), _number(values.get("hca_object", "max")))
    return quotas


def _number(text: str) -> int | None:
    return None if text == "max" else int(text)


def _limit(text: str) -> int | None:
    # The first generation writes no limit as a number near the largest one.
    return None if text == "max" or int(text) >= 1 << 60 else int(text)
