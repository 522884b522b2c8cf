"""How long from `pdpanel up` to the first generated token, as a multiple of `import torch` in the same run.

Run it on a quiet machine: `python tests/benchmarks/start.py [ROUNDS]`. The two are interleaved; the last line is JSON
with medians. The model must be cached; the file cache is warm after the first round, which is left out.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

PROMPT = {"text": "The capital of France is", "sampling_params": {"temperature": 0, "max_new_tokens": 1}}


def import_torch() -> float:
    """Seconds of a fresh interpreter that imports torch."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - began


def first_token(environment: dict[str, str]) -> tuple[float, dict[str, object]]:
    """Seconds from `pdpanel up` to the first token, and the phases that the workers report."""
    pdpanel = [sys.executable, "-m", "pdpanel.panel.cli"]
    began = time.perf_counter()
    subprocess.run([*pdpanel, "up"], check=True, env=environment, stdout=subprocess.DEVNULL)
    status = subprocess.run([*pdpanel, "status", "--json"], check=True, env=environment, capture_output=True)
    run = next(run for run in json.loads(status.stdout)["runs"] if run["state"] == "ready")
    request = urllib.request.Request(
        run["router_url"] + "/generate", json.dumps(PROMPT).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        assert json.load(response)["output_ids"]
    seconds = time.perf_counter() - began
    phases = {}
    for process in run["processes"]:
        if process["role"] != "router":
            with urllib.request.urlopen(f"http://127.0.0.1:{process['port']}/server_info", timeout=10) as response:
                phases[process["name"]] = json.load(response)["startup"]
    subprocess.run([*pdpanel, "down"], check=True, env=environment, stdout=subprocess.DEVNULL)
    return seconds, phases


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as state:
        environment = os.environ | {"PDPANEL_STATE_DIR": str(Path(state))}
        imports, starts, phases = [], [], {}
        for index in range(rounds + 1):
            imported = import_torch()
            started, phases = first_token(environment)
            if index:
                imports.append(imported)
                starts.append(started)
                print(f"import torch {imported:.2f} s, up to first token {started:.2f} s, {started / imported:.2f} x")
    ratios = [start / imported for start, imported in zip(starts, imports, strict=True)]
    result = {
        "suite": "start",
        "case": "1p1d",
        "metric": "up_to_first_token",
        "value": round(statistics.median(starts), 3),
        "unit": "s",
        "peer": "import torch",
        "peer_value": round(statistics.median(imports), 3),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_max": round(max(ratios), 2),
        "phases": phases,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
