"""What `pdpanel render --json` and `pdpanel export` take for 512 nodes of 8 GPUs: CPU time and peak of resident memory.

`python tests/benchmarks/export.py [FORMAT...]`. Each command runs as a person runs it, in a process of its own, on a
deployment of 170 prefill and 342 decode workers with tp 8 over host patterns. The aim is 2 s and 300 MB for each. The
last line is JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

LIMIT_S = 2.0
LIMIT_MB = 300
DEPLOYMENT = """\
version: 1
name: many
engine: sglang
engine_version: '0.5.23'
model: deepseek-ai/DeepSeek-V3
workers: {tp: 8}
prefill: {count: 170, hosts: ['node[001-170]']}
decode: {count: 342, hosts: ['node[171-512]']}
"""


def measure(folder: Path, *arguments: str) -> dict[str, float]:
    """Runs one command of pdpanel; returns its CPU seconds, of itself and its children, and its peak in MB."""
    program = Path(sys.executable).with_name("pdpanel")
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen([program, *arguments], stdout=output, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, (folder / "output").read_text()[-2000:]
    return {"cpu_s": round(used.ru_utime + used.ru_stime, 2), "peak_mb": round(used.ru_maxrss / 1024, 1)}


def main() -> None:
    """Prints one line for each command, and the result as JSON."""
    from pdpanel.panel.export.formats import FORMATS

    result: dict[str, object] = {"suite": "export", "limit_s": LIMIT_S, "limit_mb": LIMIT_MB}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        deployment = folder / "many.yaml"
        deployment.write_text(DEPLOYMENT)
        commands: dict[str, tuple[str, ...]] = {"render": ("render", str(deployment), "--json")}
        for form in sys.argv[1:] or FORMATS:
            commands[form] = ("export", str(deployment), "--format", form, "-o", str(folder / form))
        for title, words in commands.items():
            took = measure(folder, *words)
            fits = took["cpu_s"] < LIMIT_S and took["peak_mb"] < LIMIT_MB
            print(f"{title}: {took['cpu_s']} s, {took['peak_mb']} MB{'' if fits else ': too much'}", flush=True)
            result[title] = took
    print(json.dumps(result))


if __name__ == "__main__":
    main()
