"""Made-up traffic of a made-up host: waves on what is up, gaps with a reason on the rest. Nothing is measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pdpanel.panel.web.port import HostTraffic, LinkTraffic

__all__ = ["simulated_traffic"]

_SOURCE = "simulated"


def _link(place: int, now: float, most: float) -> LinkTraffic:
    wave = 0.5 + 0.5 * math.sin(now / 3 + place)
    return LinkTraffic(round(most * 0.85 * wave), round(most * 0.4 * (1 - wave)), _SOURCE, "")


def _gap(reason: str) -> LinkTraffic:
    return LinkTraffic(None, None, _SOURCE, reason)


def simulated_traffic(document: Mapping[str, Any], now: float) -> HostTraffic:
    """Returns the traffic at `now`; the last port that is up is idle, the last GPU's PCIe counter is not readable."""
    links: dict[str, LinkTraffic] = {}
    up: list[str] = []
    for place, nic in enumerate(document["nics"]):
        for port in nic["ports"]:
            key = f"{nic['name']}:{port['port']}"
            if port["state"] == "ACTIVE":
                links[key] = _link(place, now, port["rate_gbps"] * 1e9 / 8)
                up.append(key)
            else:
                links[key] = _gap(f"the port is {port['state']}")
    if up:
        links[up[-1]] = LinkTraffic(0, 0, _SOURCE, "")
    for place, netdev in enumerate(document["host"]["netdevs"]):
        links[netdev["name"]] = _link(place, now, 3e6)
    for place, gpu in enumerate(document["gpus"]):
        links[f"nvlink {gpu['id']}"] = _link(place, now, 3e11)
        links[f"pcie {gpu['id']}"] = _link(place, now, 2e10)
    if document["gpus"]:
        links[f"pcie {document['gpus'][-1]['id']}"] = _gap("NVML says Not Supported")
    return HostTraffic(now, 9.8, links)
