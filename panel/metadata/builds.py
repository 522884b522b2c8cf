"""Which builds of Mooncake speak to which kind of metadata server.

What is known of the published wheels comes from Mooncake's own release workflows (commit 3b5a594, USE_HTTP, USE_ETCD
and USE_REDIS), tried for the non-CUDA wheel 0.3.13 on x86-64; that etcd came with 0.3.3 from its pull request
440. A build that lacks a kind aborts its process at such an address. `installed_build` looks at this Python's packages;
the rest is pure. Called by `findings`.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
from dataclasses import dataclass

from .address import Scheme

__all__ = ["MooncakeBuild", "installed_build", "speaks"]

_START = "mooncake-transfer-engine"
_ETCD_LIBRARY = "libetcd_wrapper"
_ETCD_SINCE = (0, 3, 3)
_NUMBERS = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
# The CUDA wheels for ARM are built with USE_MNNVL and without USE_ETCD.
_WITHOUT_ETCD = {(_START, "aarch64"), (f"{_START}-cuda13", "aarch64")}


@dataclass(frozen=True, slots=True)
class MooncakeBuild:
    """An installed or intended build.

    Attributes:
        package: the wheel's name, such as mooncake-transfer-engine-non-cuda.
        machine: of the host, as the kernel calls it: x86_64 or aarch64.
        etcd: True or False when the build's files were looked at; None when its name has to do.
    """

    package: str
    version: str
    machine: str
    etcd: bool | None = None

    def __str__(self) -> str:
        return f"{self.package} {self.version} for {self.machine}"


def speaks(build: MooncakeBuild, scheme: Scheme) -> bool:
    """True when a published wheel can use a metadata server of this kind."""
    if scheme is Scheme.REDIS:
        return False
    if scheme is not Scheme.ETCD:
        return True
    if build.etcd is not None:
        return build.etcd
    numbers = _NUMBERS.match(build.version)
    old = numbers is not None and tuple(int(part or 0) for part in numbers.groups()) < _ETCD_SINCE
    return not old and (build.package, build.machine) not in _WITHOUT_ETCD


def installed_build() -> MooncakeBuild | None:
    """Returns the build that this Python would import; None without one."""
    for distribution in importlib.metadata.distributions():
        name = (distribution.metadata["Name"] or "").lower().replace("_", "-")
        if name == _START or name.startswith(f"{_START}-"):
            files = distribution.files
            etcd = any(_ETCD_LIBRARY in file.name for file in files) if files else None
            return MooncakeBuild(name, distribution.version, platform.machine(), etcd)
    return None
