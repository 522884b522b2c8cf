"""The variables that decide how a worker finds its devices and its network.

Of a live host those that a worker would inherit, of a capture those that were set where it was made. Variables with
secrets are left out, and credentials in a proxy's URL are masked. Called by `host_state`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..reading import Reading
from ..sources.files import HostFiles
from .facts import Facts

__all__ = ["probe_environment"]

_PREFIXES = ("MC_", "MOONCAKE_", "NCCL_", "SGLANG_", "VLLM_", "UCX_")
_NAMES = frozenset(
    (
        *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"),
        *("ROCR_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES", "GLOO_SOCKET_IFNAME", "WITH_NVIDIA_PEERMEM"),
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    )
)
_SECRET = ("PASSWORD", "TOKEN", "SECRET", "KEY", "CREDENTIAL", "AUTH")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*@|^[^/@\s:]+:[^/@\s]*@")


def probe_environment(files: HostFiles, facts: Facts, environ: Mapping[str, str]) -> Reading[Mapping[str, str]]:
    """Returns the variables by name; `environ` are those of this process, or those of the capture."""
    if not files.live and not facts.has("environ"):
        return Reading.unreadable("facts: environ", "is not among the facts")
    shown = {name: _CREDENTIALS.sub("***@", environ[name]) for name in sorted(environ) if _matters(name)}
    return Reading(shown, "environment")


def _matters(name: str) -> bool:
    if any(word in name.upper() for word in _SECRET):
        return False
    return name in _NAMES or name.startswith(_PREFIXES)
