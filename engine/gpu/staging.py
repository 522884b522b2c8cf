"""Where a GPU worker's staging pages lie: in its memory where the transport reads and writes it, else in the host's.

Only Mooncake's builds for GPUs move GPU memory. Which build is installed says what it was made for, not what this host
allows: that shows when the memory is registered, and `opening` falls back then. Asks the package metadata, no library.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution

__all__ = ["staged_notice", "why_on_the_host"]

_FOR_GPUS = ("mooncake-transfer-engine", "mooncake-transfer-engine-cuda13", "mooncake-transfer-engine-rocm")
_FOR_CPUS = "mooncake-transfer-engine-non-cuda"


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def why_on_the_host(kind: str, is_installed: Callable[[str], bool] = _installed) -> str:
    """Returns why a transport of this kind does not move GPU memory, one clause; empty when it may.

    Args:
        kind: of the endpoint that was opened, such as "mooncake" or "tcp".
        is_installed: whether a distribution of this name is installed.
    """
    if kind != "mooncake":
        return f"the transport {kind} moves the host's memory alone"
    if is_installed(_FOR_CPUS):
        return f"this Mooncake build ({_FOR_CPUS}) cannot move GPU memory"
    if not any(map(is_installed, _FOR_GPUS)):
        return "no Mooncake build for GPUs is installed"
    return ""


def staged_notice(why: str) -> str:
    """Returns the notice for people of KV that passes through the host's memory because of `why`; empty for none."""
    return f"The KV is staged through the host's memory: {why}." if why else ""
