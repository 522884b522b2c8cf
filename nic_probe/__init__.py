"""What this host is: read-only, knows nothing of the rest.

`probe_host()` returns a `Host`, `check_host(host)` returns what is worth saying about it. Everything that
could not be read is a `Reading` with the reason.
"""

from __future__ import annotations

from .checks import check_host
from .cpu import Cpu, NumaNode
from .finding import Evidence, Finding, Severity
from .gpu import Gpu, Gpus
from .host import Host, probe_host
from .memory import Memory
from .netdev import Netdev
from .rdma import Gid, RdmaDevice, RdmaPort
from .reading import Reading

__all__ = [
    "Cpu",
    "Evidence",
    "Finding",
    "Gid",
    "Gpu",
    "Gpus",
    "Host",
    "Memory",
    "Netdev",
    "NumaNode",
    "RdmaDevice",
    "RdmaPort",
    "Reading",
    "Severity",
    "check_host",
    "probe_host",
]
