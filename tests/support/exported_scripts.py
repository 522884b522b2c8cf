"""Exported scripts of real deployments of the bundled engine, and what must be gone when they have stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pdpanel.panel.cli_export import export
from pdpanel.panel.deployment import dump_deployment, parse_deployment

EXACT = {"dtype": "float32", "kv-cache-dtype": "float32", "chunked-prefill-size": 64, "max-total-tokens": 2048}
MODEL = "smollm2-135m-instruct"
# A busy machine takes its time; nothing here waits longer than it must.
PATIENCE_S = 300
PROMPTS = ([504, 2988, 314, 42] * 30, [7 * i % 40000 + 100 for i in range(65)])


def marked_processes(folder: Path) -> list[int]:
    """Returns the processes that work in `folder`."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                place = os.readlink(entry / "cwd")
            except OSError:
                continue
            if place.startswith(str(folder)):
                found.append(int(entry.name))
    return found


class Scripts:
    """An export to bash scripts; `prefix` starts them elsewhere, such as in a network namespace."""

    def __init__(self, folder: Path, fields: Mapping[str, Any]) -> None:
        source = folder / "deployment.yaml"
        folder.mkdir(parents=True)
        common: dict[str, Any] = {"model": MODEL, "workers": {"flags": EXACT}, "env": {"OMP_NUM_THREADS": "1"}}
        common["limits"] = {"ready_timeout_s": PATIENCE_S}
        source.write_text(dump_deployment(parse_deployment(common | dict(fields))))
        self.folder = folder / "out"
        assert export(source, "sh", self.folder, None, force=False) == 0
        programs = Path(sys.executable).parent
        self.environ = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}

    def command(self, node: str, *words: str) -> list[str]:
        return [str(self.folder / f"{node}.sh"), *words]

    def spawn(self, node: str, *words: str, prefix: Sequence[str] = ()) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        command = [*prefix, *self.command(node, *words)]
        return subprocess.Popen(command, env=self.environ, stdout=pipe, stderr=subprocess.STDOUT, text=True)

    def call(self, node: str, *words: str, prefix: Sequence[str] = (), expect: int = 0) -> str:
        process = self.spawn(node, *words, prefix=prefix)
        told, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == expect, (node, words, told, self.logs())
        return told

    def logs(self) -> str:
        return "\n".join(f"{path}:\n{path.read_text()[-2000:]}" for path in self.folder.glob("*/logs/*"))


def generate(url: str, ids: Sequence[int], count: int = 12) -> list[int]:
    """Returns the tokens of a greedy answer."""
    sampling = {"temperature": 0, "max_new_tokens": count, "ignore_eos": True}
    body = json.dumps({"input_ids": list(ids), "sampling_params": sampling}).encode()
    request = urllib.request.Request(f"{url}/generate", body, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=PATIENCE_S) as response:
        return json.load(response)["output_ids"]
