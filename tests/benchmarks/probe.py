"""What probing a node with 8 GPUs and 16 NICs x 256 GIDs costs, as a multiple of reading the same files naively.

`python tests/benchmarks/probe.py [ROUNDS]`. Each round is a fresh process in which everything is imported first; then
it probes a made tree and reads the files that the probe has read with `open().read()`, in turns of order. Beside it,
in the same rounds: `pdpanel probe --json --root TREE` as a whole, and `pdpanel probe` of this machine as a whole. The
last line is JSON with medians; the file cache is warm after the first round, which is left out.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

SUPPORT = Path(__file__).resolve().parents[1] / "support"


def once(root: Path, probe_first: bool) -> dict[str, float]:
    """Returns the seconds of a probe and of the naive reads, in this process; its imports are not counted."""
    from pdpanel.nic_probe import probe_document, probe_host, survey_topology
    from pdpanel.nic_probe.sources.directory import DirectoryTree
    from pdpanel.nic_probe.sources.files import HostFiles

    class Listening(DirectoryTree):
        """Remembers which files are read."""

        def __init__(self, root: Path) -> None:
            super().__init__(root)
            self.paths: list[str] = []

        def read(self, place: str, limit: int) -> bytes:
            self.paths.append(place)
            return super().read(place, limit)

        def read_each(self, place: str, names: Collection[str], limit: int) -> dict[str, bytes | OSError]:
            self.paths += [f"{place}/{name}" for name in names]
            return super().read_each(place, names, limit)

    def probe() -> float:
        began = time.perf_counter()
        host = probe_host(HostFiles(root), {})
        document = probe_document(host, survey_topology(host))
        json.dumps(document)
        seconds = time.perf_counter() - began
        assert len(document["gpus"]) == 8 and len(document["nics"]) == 16
        return seconds

    def naive(paths: Collection[str]) -> float:
        began = time.perf_counter()
        for path in paths:
            try:
                with open(root / path) as file:
                    file.read()
            except OSError:
                continue
        return time.perf_counter() - began

    paths = list_of(root)
    if probe_first:
        return {"probe": probe(), "naive": naive(paths), "files": len(paths)}
    read = naive(paths)
    return {"probe": probe(), "naive": read, "files": len(paths), "listening": bool(Listening)}


def main() -> None:
    pass
