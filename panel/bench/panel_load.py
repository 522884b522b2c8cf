"""A made-up load: every series that a run and its host can have, with values that move. Nothing is measured.

Pure: a moment in, values out, the same each time. The benchmark of the panel and the tests of its pages draw it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..runner.series import SeriesInfo

__all__ = ["MadeUpLoad"]

_SOURCE = "simulated"
_NIC_LIMIT = 50e9
_NETDEV_LIMIT = 3.125e9
_GPU_MEMORY = 80e9
_HOST_MEMORY = 512e9
_QUEUES = {
    "prefill": ("running", "queued", "bootstrap_queue", "inflight_queue"),
    "decode": ("running", "queued", "prealloc_queue", "transfer_queue"),
    "unified": ("running", "queued"),
}
_WORDS = {
    "running": "Running requests",
    "queued": "Queued requests",
    "bootstrap_queue": "Requests in the bootstrap queue",
    "inflight_queue": "Requests in the inflight queue",
    "prealloc_queue": "Requests in the prealloc queue",
    "transfer_queue": "Requests in the transfer queue",
}


@dataclass(frozen=True, slots=True)
class MadeUpLoad:
    """The load of one run on one host.

    Attributes:
        processes: (name, role) of each.
        links: pairs (prefill process, decode process).
        nics: how many RDMA ports the host has; the first netdev is there always.
        gpus: how many GPUs.
    """

    processes: Sequence[tuple[str, str]]
    links: Sequence[tuple[str, str]]
    nics: int = 2
    gpus: int = 2

    def series(self) -> list[SeriesInfo]:
        """Returns all series."""
        found: list[SeriesInfo] = []

        def add(key: str, unit: str, group: str, limit: float | None = None, process: str = "") -> None:
            quantity = key.rpartition("/")[2]
            title = _WORDS.get(quantity, quantity.replace("_", " ").capitalize())
            total = key.startswith("run/")
            found.append(SeriesInfo(key, title, unit, _SOURCE, process, group, total, limit))

        if self.links:
            add("run/kv_bytes_per_s", "B/s", "kv")
            for part in ("p50", "p99"):
                add(f"run/transfer_latency_{part}_s", "s", "transfer")
            add("run/transfer_bytes_per_request", "B", "transfer_size")
        for one, two in self.links:
            add(f"link/{one}>{two}/kv_bytes_per_s", "B/s", "kv")
        add("run/running", "requests", "queues")
        for quantity in ("prompt", "generated"):
            add(f"run/{quantity}_tokens_per_s", "tokens/s", "tokens")
        for name in ("ttft", "itl", "e2e"):
            for part in ("p50", "p99"):
                add(f"run/{name}_{part}_s", "s", "latency")
        add("run/requests_per_s", "requests/s", "requests")
        add("run/failed_per_s", "requests/s", "requests")
        for name, role in self.processes:
            for quantity in _QUEUES.get(role, ()):
                add(f"proc/{name}/{quantity}", "requests", "queues", process=name)
            if role in _QUEUES:
                add(f"proc/{name}/slot_pages_used", "pages", "pages", process=name)
                add(f"proc/{name}/staging_pages_used", "pages", "pages", process=name)
                add(f"proc/{name}/pages_quarantined", "pages", "pages", process=name)
                add(f"proc/{name}/kv_usage_percent", "%", "pages", 100.0, name)
                add(f"proc/{name}/prompt_tokens_per_s", "tokens/s", "tokens", process=name)
                add(f"proc/{name}/generated_tokens_per_s", "tokens/s", "tokens", process=name)
            add(f"proc/{name}/cpu_percent", "%", "cpu", process=name)
            add(f"proc/{name}/rss_bytes", "B", "memory", process=name)
        for place in range(self.nics):
            for way in ("tx", "rx"):
                add(f"nic/mlx5_{place}:1/{way}_bytes_per_s", "B/s", "nic", _NIC_LIMIT)
        for way in ("tx", "rx"):
            add(f"netdev/eth0/{way}_bytes_per_s", "B/s", "netdev", _NETDEV_LIMIT)
        for place in range(self.gpus):
            add(f"gpu/{place}/util_percent", "%", "gpu", 100.0)
            add(f"gpu/{place}/memory_bytes", "B", "gpu", _GPU_MEMORY)
        add("host/cpu_percent", "%", "cpu", 100.0)
        add("host/memory_bytes", "B", "memory", _HOST_MEMORY)
        return found

    def values(self, moment: float) -> dict[str, float]:
        """Returns the values at unix time `moment`."""
        values: dict[str, float] = {}

        def wave(place: int, seconds: float = 4.0) -> float:
            return 0.5 + 0.35 * math.sin(moment / seconds + 1.3 * place) + 0.15 * math.sin(moment / 0.7 + 2.1 * place)

        kv = 0.0
        for place, (one, two) in enumerate(self.links):
            rate = max(0.0, 2 * wave(place) - 0.8) * 1.9e8
            values[f"link/{one}>{two}/kv_bytes_per_s"] = rate
            kv += rate
        if self.links:
            values["run/kv_bytes_per_s"] = kv
            values["run/transfer_latency_p50_s"] = 0.004 + 0.002 * wave(1)
            values["run/transfer_latency_p99_s"] = 0.011 + 0.02 * wave(2)
            values["run/transfer_bytes_per_request"] = 2.2e7 * (1 + wave(3, 30))
        running = prompt = generated = 0.0
        for place, (name, role) in enumerate(self.processes):
            key = f"proc/{name}"
            values[f"{key}/cpu_percent"] = 100 * wave(place, 3)
            values[f"{key}/rss_bytes"] = 6e8 + 1e8 * place % 5e8 + 2e7 * wave(place, 5)
            if role not in _QUEUES:
                continue
            for number, quantity in enumerate(_QUEUES[role]):
                values[f"{key}/{quantity}"] = float(round((6 if number == 0 else 2) * wave(place + number, 6)))
            count = values[f"{key}/running"]
            values[f"{key}/slot_pages_used"] = 40 * count
            values[f"{key}/staging_pages_used"] = float(round(20 * wave(place, 2)))
            values[f"{key}/pages_quarantined"] = 0.0
            values[f"{key}/kv_usage_percent"] = 100 * wave(place, 20)
            values[f"{key}/prompt_tokens_per_s"] = 0.0 if role == "decode" else 900 * wave(place, 5)
            values[f"{key}/generated_tokens_per_s"] = 0.0 if role == "prefill" else count * 11.5
            running += count
            prompt += values[f"{key}/prompt_tokens_per_s"]
            generated += values[f"{key}/generated_tokens_per_s"]
        values["run/running"] = running
        values["run/prompt_tokens_per_s"] = prompt
        values["run/generated_tokens_per_s"] = generated
        for place, (name, size) in enumerate((("ttft", 0.08), ("itl", 0.012), ("e2e", 1.6))):
            values[f"run/{name}_p50_s"] = size * (1 + 0.5 * wave(place))
            values[f"run/{name}_p99_s"] = size * (2 + 2 * wave(place + 1))
        values["run/requests_per_s"] = running / 2
        values["run/failed_per_s"] = 0.0
        for place in range(self.nics):
            values[f"nic/mlx5_{place}:1/tx_bytes_per_s"] = kv / self.nics * (0.8 + 0.4 * wave(place))
            values[f"nic/mlx5_{place}:1/rx_bytes_per_s"] = kv / self.nics * 0.02 * wave(place, 9)
        for place, way in enumerate(("tx", "rx")):
            values[f"netdev/eth0/{way}_bytes_per_s"] = 3e6 * wave(place)
        for place in range(self.gpus):
            values[f"gpu/{place}/util_percent"] = 100 * wave(place, 7)
            values[f"gpu/{place}/memory_bytes"] = 6.2e10 + 1e9 * wave(place, 40)
        values["host/cpu_percent"] = 60 * wave(0, 8)
        values["host/memory_bytes"] = 2e11 + 1e10 * wave(0, 60)
        return values
