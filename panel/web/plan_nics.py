"""Which RDMA NICs of this host the form offers to pick, and which each GPU should use.

Pure; called by `plan_routes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..host_devices import gpu_order

__all__ = ["nics_of"]


def nics_of(hardware: Mapping[str, Any]) -> dict[str, Any]:
    """Returns {nics: [{name, state, note}], map}, from what the Hardware tab shows of this host.

    Args:
        hardware: as `hardware.describe` shapes it. A NIC's state is that of the picture: good, warn, bad or unknown.

    Returns:
        nics in the picture's order, and map: by the index of each GPU the NICs that the probe chose for it.
    """
    document = hardware["document"]
    states = {
        box["id"]: (str(box["state"]), box["label"]) for box in hardware["picture"]["boxes"] if box["kind"] == "nic"
    }
    nics = [str(nic["name"]) for nic in document.get("nics", ())]
    chosen = document.get("ib_devices") or {}
    gpus = sorted(document.get("gpus", ()), key=gpu_order)
    per_gpu = {str(index): _names(chosen.get(gpu.get("id"))) for index, gpu in enumerate(gpus)}
    return {
        "nics": [
            {"name": name, "state": states.get(name, ("unknown", ""))[0], "note": states.get(name, ("", name))[1]}
            for name in nics
        ],
        "map": {gpu: names for gpu, names in per_gpu.items() if names},
    }


def _names(chosen: object) -> list[str]:
    if isinstance(chosen, str):
        return [name for name in chosen.split(",") if name]
    return [str(name) for name in chosen] if isinstance(chosen, list | tuple) else []
