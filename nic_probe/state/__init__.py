"""What only the checks look at: limits, kernel settings, network, PCI errors, container, software, clock.

Read from kernel files and facts alone; knows no GPU, no NIC and no judgement. Called by `host`.
"""

from __future__ import annotations

from .host_state import HostState, probe_state

__all__ = ["HostState", "probe_state"]
