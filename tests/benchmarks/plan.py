"""Time and memory of planning and rendering 512 nodes of 8 GPUs, for each dialect that can say it.

    python tests/benchmarks/plan.py [DIALECT...]

Each dialect is measured in a process of its own, so that the memory is that of its plan alone. The wanted limits are
2 s and 300 MB for render and export together.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

NODES = 512
DEPLOYMENTS = {
    "bundled": {"workers": {}},
    "sglang": {"engine": "sglang", "workers": {"tp": 4}},
    "vllm": {"engine": "vllm", "workers": {"tp": 4}},
}


def main(names: list[str]) -> int:
    """Prints one line for each dialect."""
    for name in names or list(DEPLOYMENTS):
        done = subprocess.run([sys.executable, __file__, "--one", name], capture_output=True, text=True, check=False)
        print(done.stdout.strip() or f"{name}: {done.stderr.strip().splitlines()[-1]}")
    return 0


def one(name: str) -> int:
    """Plans and renders one dialect's 512 nodes, two workers on each, and prints what it took."""
    from pdpanel.panel.deployment import parse_deployment
    from pdpanel.panel.host_facts import elsewhere
    from pdpanel.panel.plan import plan
    from pdpanel.panel.render import render

    hosts = f"n[001-{NODES}]"
    roles = {"prefill": {"count": NODES, "hosts": [hosts]}, "decode": {"count": NODES, "hosts": [hosts]}}
    fields = {"model": "m", "hosts": {hosts: {"gpus": 8}}, **roles, **DEPLOYMENTS[name]}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    made = plan(parse_deployment(fields), elsewhere(), None)
    planned = time.perf_counter()
    text = json.dumps(render(made))
    rendered = time.perf_counter()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{name}: {len(made.processes)} processes on {len(made.addresses)} nodes, plan {planned - start:.2f} s, "
        f"render {rendered - planned:.2f} s, {len(text) / 1e6:.1f} MB of JSON, "
        f"peak {memory / 1024:.0f} MiB ({(memory - before) / 1024:.0f} MiB over the imports)"
    )
    return 0


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(one(arguments[1]) if arguments[:1] == ["--one"] else main(arguments))
