"""What probing a node with 8 GPUs and 16 NICs x 256 GIDs costs, as a multiple of reading the same files naively.

`python tests/benchmarks/probe.py [ROUNDS]`. Each round is a fresh process that imports everything, and then probes a
made tree and reads with `open().read()` every file that the probe reads, in turns of order. Beside it, in the same
rounds: `pdpanel probe --json --root TREE` less a process that imports the same, and `pdpanel probe` of this machine as
a whole. The last line is JSON with medians; the first round, which warms the file cache, is left out.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path

SUPPORT = Path(__file__).resolve().parents[1] / "support"
GPUS, NICS, GIDS = 8, 16, 256


def read_by_probe(root: Path) -> list[str]:
    """Returns the files that a probe reads, each as often as it is read."""
    from pdpanel.nic_probe import probe_host
    from pdpanel.nic_probe.sources.directory import DirectoryTree
    from pdpanel.nic_probe.sources.files import HostFiles

    class Listening(DirectoryTree):
        def read(self, place: str, limit: int) -> bytes:
            paths.append(place)
            return super().read(place, limit)

        def read_each(self, place: str, names: Collection[str], limit: int) -> dict[str, bytes | OSError]:
            paths.extend(f"{place}/{name}" for name in names)
            return super().read_each(place, names, limit)

    paths: list[str] = []
    probe_host(HostFiles(Listening(root)), {})
    return paths


def once(root: Path, order: Sequence[str], paths: Sequence[str]) -> dict[str, float]:
    """Returns the seconds of a probe and of the naive reads in this process, in the given order."""
    from pdpanel.nic_probe import probe_document, probe_host, survey_topology
    from pdpanel.nic_probe.sources.files import HostFiles

    def probe() -> None:
        host = probe_host(HostFiles(root), {})
        document = json.dumps(probe_document(host, survey_topology(host)))
        assert document.count('"why_not"') >= NICS

    def naive() -> None:
        for path in paths:
            try:
                with open(root / path) as file:
                    file.read()
            except OSError:
                continue

    seconds: dict[str, float] = {}
    for name in order:
        began = time.perf_counter()
        {"probe": probe, "naive": naive}[name]()
        seconds[name] = time.perf_counter() - began
    return seconds


def wall(*arguments: str) -> float:
    """Returns the seconds of a fresh interpreter."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def imports_of(*arguments: str) -> str:
    """Returns a program that imports what `pdpanel` with these arguments imports, and does nothing else."""
    listed = f"""
import sys, atexit, json
atexit.register(lambda: print("\\n" + json.dumps([name for name in sys.modules if name.startswith("pdpanel.")])))
sys.argv = ["pdpanel", *{arguments!r}]
from pdpanel.panel.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", listed], check=True, capture_output=True, text=True)
    return "\n".join(f"import {name}" for name in json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    if sys.argv[1:2] == ["--once"]:
        root, order, paths = sys.argv[2:]
        print(json.dumps(once(Path(root), order.split(","), json.loads(Path(paths).read_text()))))
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    sys.path.insert(0, str(SUPPORT))
    from simulated_node import grow_node

    with tempfile.TemporaryDirectory() as folder:
        root = grow_node(Path(folder) / "node", gpus=GPUS, nics=NICS, gids=GIDS).root
        paths = Path(folder) / "paths.json"
        paths.write_text(json.dumps(read_by_probe(root)))
        command = ("-m", "pdpanel.panel.cli", "probe")
        of_tree = ("--json", "--root", str(root))
        imports = imports_of("probe", *of_tree)
        found: dict[str, list[float]] = {name: [] for name in ("probe", "naive", "ratio", "command", "imports", "live")}
        for number in range(rounds + 1):
            order = ",".join(("probe", "naive") if number % 2 else ("naive", "probe"))
            arguments = [sys.executable, __file__, "--once", str(root), order, str(paths)]
            done = subprocess.run(arguments, check=True, capture_output=True)
            seconds = json.loads(done.stdout)
            seconds |= {"ratio": seconds["probe"] / seconds["naive"], "live": wall(*command)}
            seconds |= {"command": wall(*command, *of_tree), "imports": wall("-c", imports)}
            if number:
                for name, values in found.items():
                    values.append(seconds[name])
                print(", ".join(f"{name} {seconds[name]:.3f}" for name in found))
        files = len(json.loads(paths.read_text()))
    middle = {name: statistics.median(values) for name, values in found.items()}
    result = {
        "suite": "probe",
        "case": f"{GPUS} GPUs, {NICS} NICs x {GIDS} GIDs",
        "metric": "probe after imports",
        "value": round(middle["probe"] * 1e3, 1),
        "unit": "ms",
        "peer": f"open().read() of the same {files} files",
        "peer_value": round(middle["naive"] * 1e3, 1),
        "ratio": round(middle["ratio"], 2),
        "command_ms": round(middle["command"] * 1e3, 1),
        "command_without_imports_ms": round((middle["command"] - middle["imports"]) * 1e3, 1),
        "probe_of_this_machine_ms": round(middle["live"] * 1e3, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
