"""The panel over a made-up run of many processes and NICs: what `pdpanel bench panel` measures, a process of its own.

Usage: python -m pdpanel.panel.bench.panel_source STATE_DIR PORT TOKEN PROCESSES NICS. The run is there while the file
`load` is in STATE_DIR; beside it stands a run of the same processes without any samples. The total of the KV steps
between two values every `STEP_S` seconds, so that a browser can tell when it shows the new one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..config import read_config
from ..runs import Runs
from ..web.port import HostTraffic, LinkTraffic, ProcessView, RunView, SampleBatch
from ..web.series_views import to_series_list
from ..web.serve import serve
from ..web.source import RunsSource
from .panel_load import MadeUpLoad

__all__ = ["LOADED", "QUIET", "STEP_S", "STEP_VALUES", "PanelSource", "main"]

LOADED = "loaded"
QUIET = "quiet"
# No multiple of the sampling's period, so that steps fall anywhere between two samples.
STEP_S = 3.7
STEP_VALUES = (4e9, 8e9)
_RATE_HZ = 2
_KEPT = 1800
_BATCH = 600


def _processes(count: int) -> list[tuple[str, str]]:
    """Returns (name, role): a router and as many prefill as decode workers, one more of these if need be."""
    prefill = (count - 1) // 2
    workers = [(f"prefill-{place}", "prefill") for place in range(prefill)]
    workers += [(f"decode-{place}", "decode") for place in range(count - 1 - prefill)]
    return [*workers, ("router", "router")]


class PanelSource(RunsSource):
    """The made-up run; whatever else the panel asks for is answered as for a person without runs."""

    def __init__(self, runs: Runs, flag: Path, processes: int, nics: int) -> None:
        super().__init__(runs)
        names = _processes(processes)
        links = [(one, two) for one, role in names if role == "prefill" for two, other in names if other == "decode"]
        self._load = MadeUpLoad(names, links, nics, gpus=8)
        self._series = to_series_list(self._load.series())
        self._flag = flag
        self._began = time.time()
        self._nics = nics

    def runs(self) -> Sequence[RunView]:
        """Returns the run with samples and the one without, or none."""
        if not self._flag.exists():
            return []
        loaded = self._view(LOADED, time.time())
        return [loaded, replace(self._view(QUIET, self._began), created_s=self._began - 1)]

    def samples(self, run_id: str, since: int) -> SampleBatch:
        """Returns what was made up since row `since`."""
        if run_id != LOADED:
            return SampleBatch(since, self._series)
        last = int((time.time() - self._began) * _RATE_HZ)
        first = max(since + 1, last - _KEPT)
        numbers = range(first, min(last, first + _BATCH - 1) + 1)
        rows = tuple((moment, self._values(moment)) for moment in (self._began + seq / _RATE_HZ for seq in numbers))
        return SampleBatch(numbers[-1] if rows else since, self._series, rows)

    def host_traffic(self) -> HostTraffic | None:
        """Returns the traffic of the NICs."""
        now = time.time()
        moment = int(now * _RATE_HZ) / _RATE_HZ
        values = self._load.values(moment)
        links = {}
        for place in range(self._nics):
            name = f"mlx5_{place}:1"
            sent, received = (values[f"nic/{name}/{way}_bytes_per_s"] for way in ("tx", "rx"))
            links[name] = LinkTraffic(sent, received, "simulated", "")
        return HostTraffic(moment, _RATE_HZ, links)

    def _values(self, moment: float) -> dict[str, float]:
        return {**self._load.values(moment), "run/kv_bytes_per_s": STEP_VALUES[int(moment / STEP_S) % 2]}

    def _view(self, run_id: str, now: float) -> RunView:
        values = self._load.values(int(now * _RATE_HZ) / _RATE_HZ)
        processes = tuple(
            ProcessView(
                name=name,
                role=role,
                state="ready",
                pid=1000 + place,
                port=30000 + place,
                started_s=self._began,
                cpu_percent=values[f"proc/{name}/cpu_percent"],
                rss_bytes=int(values[f"proc/{name}/rss_bytes"]),
            )
            for place, (name, role) in enumerate(self._load.processes)
        )
        return RunView(
            id=run_id,
            state="ready",
            mode="pd",
            model=f"made-up ({run_id})",
            transport="mooncake",
            router_url="http://127.0.0.1:9",
            created_s=self._began,
            processes=processes,
            links=tuple(self._load.links),
        )


def main() -> None:
    """Serves until SIGTERM."""
    folder, port, token, processes, nics = sys.argv[1:]
    config = read_config(state_dir=Path(folder), config_dir=Path(folder) / "config", cache_dir=Path(folder) / "cache")
    source = PanelSource(Runs(config), Path(folder) / "load", int(processes), int(nics))
    serve(config, port=int(port), open_browser=False, source=source, token=token)


if __name__ == "__main__":
    main()
