"""The executor by itself, in a process of its own: milliseconds of a decode step by batch and by context.

`python -m pdpanel.panel.bench.suites.scale_steps MODEL ROUNDS THREADS SIZES`, SIZES as `batch=1,8;context=128,512`.
Writes one JSON line per step size and round. The KV that a step reads holds nothing that was computed: its content does
not change the cost. The only file of the suite that imports the engine's heavy half.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ....engine.errors import PeerError

if TYPE_CHECKING:
    from ....engine.loading import Loaded

__all__ = ["BATCH_CONTEXT", "Steps", "step_times"]

BATCH_CONTEXT = 128
"""Tokens that each sequence of a batch has behind it."""

_STEPS = 8
"""Steps of which the median counts, in each round."""

Steps = dict[str, dict[int, list[float]]]
"""Milliseconds of a step by kind, `batch` or `context`, and size; one for each round."""


def step_times(
    environment: Mapping[str, str], model: str, sizes: Mapping[str, Sequence[int]], rounds: int, threads: int
) -> tuple[Steps, str]:
    """Returns the times, and how the executor computes.

    Raises:
        PeerError: the process fails.
    """
    asked = ";".join(f"{kind}={','.join(map(str, each))}" for kind, each in sizes.items())
    argv = [sys.executable, "-m", "pdpanel.panel.bench.suites.scale_steps", model, str(rounds), str(threads), asked]
    variables = {**environment, "OMP_NUM_THREADS": str(threads)}
    ended = subprocess.run(argv, env=variables, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if ended.returncode:
        said = ended.stderr.decode(errors="replace").splitlines()[-1:]
        raise PeerError(f"The executor could not be measured: {' '.join(said) or 'it is silent'}.")
    found: Steps = {kind: {size: [] for size in each} for kind, each in sizes.items()}
    path = ""
    for line in ended.stdout.splitlines():
        entry = json.loads(line)
        if "path" in entry:
            path = entry["path"]
        else:
            found[entry["kind"]][entry["size"]].append(entry["ms"])
    return found, path


def _sizes(text: str) -> dict[str, list[int]]:
    parts = (part.partition("=") for part in text.split(";"))
    return {kind: [int(size) for size in each.split(",")] for kind, _, each in parts}


def _load(model: str, places: int, context: int) -> Loaded:
    from ....engine.arguments import parse_server_arguments
    from ....engine.config import read_environment
    from ....engine.loading import load
    from ....engine.log import Stopwatch

    # A catalogue's name or a folder is the same to a worker; the context is at most the model's own.
    flags = ["--model-path", model, "--max-total-tokens", str(places), "--context-length", str(context)]
    return load(parse_server_arguments(flags), read_environment(), Stopwatch())


def _measure(loaded: Loaded, sizes: Mapping[str, Sequence[int]], rounds: int) -> Iterator[dict[str, object]]:
    from ....engine.model.executor import TokenSpan

    info, kv, forward = loaded.executor.info, loaded.kv, loaded.executor.forward
    kv.slots.normal_()
    yield {"path": f"{info.executor}, weights {info.weights}, attention {info.attention}"}
    for number in range(rounds):
        for kind, each in sizes.items():
            for size in each if number % 2 == 0 else reversed(each):
                batch, past = (size, BATCH_CONTEXT) if kind == "batch" else (1, size - 1)
                spans = [TokenSpan([7], past, row * (past + 1), logits=True) for row in range(batch)]
                times: list[float] = []
                for _ in range(_STEPS + 1):
                    began = time.perf_counter()
                    forward(spans, kv)
                    times.append(1000 * (time.perf_counter() - began))
                median = sorted(times[1:])[_STEPS // 2]  # the first step of a size sets up its buffers
                yield {"kind": kind, "size": size, "ms": round(median, 4)}


def main() -> None:
    """Measures what the command line says."""
    import torch

    model, rounds, threads, text = sys.argv[1:]
    sizes = _sizes(text)
    longest = max(max(sizes.get("context", [1])), BATCH_CONTEXT + 1)
    places = max(longest, max(sizes.get("batch", [1])) * (BATCH_CONTEXT + 1))
    torch.set_num_threads(int(threads))
    with torch.inference_mode():
        for line in _measure(_load(model, places + 64, longest), sizes, int(rounds)):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
