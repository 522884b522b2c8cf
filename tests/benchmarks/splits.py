"""Whether the split that `pdpanel plan --suggest` finds best is the measured best, on the bundled engine.

    python tests/benchmarks/splits.py [PROMPT OUTPUT REQUESTS]

Workers have one thread each. One worker pair is measured first (prompt speed, decode speed by batch); from that the
four splits 1P1D, 1P2D, 2P1D and 2P2D are predicted, and then each is put under load. Where workers are more than cores,
they share them (`--cores`). Each split is measured in two rounds, and the better one counts, since other work on the
host only ever slows a round down. The last line is JSON; `within` is the measured rate of the predicted best over that
of the measured best.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import yaml
from pdpanel.panel.sizing.measured import Measured
from pdpanel.panel.sizing.model import facts_of_config
from pdpanel.panel.sizing.split import Fleet, Load
from pdpanel.panel.sizing.suggest import suggest

MODEL = "SmolLM2-135M-Instruct"
SHAPE = {
    "num_hidden_layers": 30, "hidden_size": 576, "num_attention_heads": 9, "num_key_value_heads": 3,
    "intermediate_size": 1536, "vocab_size": 49152, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
}  # fmt: skip
SPLITS = ((1, 1), (1, 2), (2, 1), (2, 2))
BATCH = 8
AT_ONCE = 3 * BATCH  # Keeps two decode workers busy, and lets requests wait for a slot.


@contextmanager
def running(prefill: int, decode: int, folder: Path) -> Iterator[str]:
    """Starts a split of workers with one thread each, and yields the router's URL."""
    path = folder / "deployment.yaml"
    roles = {
        "prefill": {"count": prefill},
        "decode": {"count": decode, "flags": {"max-running-requests": BATCH}},
    }
    path.write_text(yaml.safe_dump({"model": MODEL, "env": {"OMP_NUM_THREADS": "1"}, **roles}))
    environment = os.environ | {"PDPANEL_STATE_DIR": str(folder / "state")}
    pdpanel = [sys.executable, "-m", "pdpanel.panel.cli"]
    subprocess.run([*pdpanel, "up", "-y", str(path)], check=True, env=environment, stdout=subprocess.DEVNULL)
    try:
        status = subprocess.run([*pdpanel, "status", "--json"], check=True, env=environment, capture_output=True)
        yield next(run for run in json.loads(status.stdout)["runs"] if run["state"] == "ready")["router_url"]
    finally:
        subprocess.run([*pdpanel, "down"], check=True, env=environment, stdout=subprocess.DEVNULL)


def ask(url: str, prompt: int, output: int) -> None:
    """Sends one request of random tokens, which no cache holds."""
    ids = [random.randrange(1000, 40000) for _ in range(prompt)]
    parameters = {"temperature": 0, "max_new_tokens": output, "ignore_eos": True}
    body = json.dumps({"input_ids": ids, "sampling_params": parameters}).encode()
    request = urllib.request.Request(url + "/generate", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as response:
        assert json.load(response)["meta_info"]["completion_tokens"] == output


def seconds(url: str, prompt: int, output: int, requests: int, at_once: int) -> float:
    """Returns the seconds that all requests take together."""
    began = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda _: ask(url, prompt, output), range(requests)))
    return time.perf_counter() - began


def measure(folder: Path, prompt: int) -> Measured:
    """Returns the speeds of one prefill and one decode worker."""
    with running(1, 1, folder) as url:
        seconds(url, prompt, 2, 2, 1)
        prefill = prompt * 6 / seconds(url, prompt, 1, 6, 1)
        decode = []
        for batch in (1, 2, 4, BATCH):
            short, long = (seconds(url, 16, output, batch, batch) for output in (2, 42))
            decode.append((batch, batch * 40 / max(1e-3, long - short)))
    return Measured(prefill, tuple(decode), "one thread of this host")


def predict(measured: Measured, load: Load, cores: int) -> dict[str, float]:
    """Returns the requests per second that each split is expected to serve."""
    fleet = Fleet(4, (1,), cores=cores)
    answer = suggest(facts_of_config(SHAPE), load, fleet, measured=measured, keep=50)
    names = {f"{prefill}P{decode}D" for prefill, decode in SPLITS}
    return {split.name: split.capacity.value for split in answer.splits if split.name in names}


def main(prompt: int = 64, output: int = 16, requests: int = 48) -> int:
    """Measures, predicts, measures the four splits and compares."""
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measured = measure(folder, prompt)
        print(f"prefill {measured.prefill_tokens_per_s:.0f} tokens/s, decode {dict(measured.decode_tokens_per_s)}")
        expected = predict(measured, Load(prompt, output), cores)
        seen: dict[str, float] = {}
        for prefill, decode in SPLITS * 2:
            with running(prefill, decode, folder) as url:
                seconds(url, prompt, 2, 4, 4)
                split = f"{prefill}P{decode}D"
                seen[split] = max(requests / seconds(url, prompt, output, requests, AT_ONCE), seen.get(split, 0.0))
            print(f"{split}: expected {expected[split]:.2f} requests/s, measured {seen[split]:.2f}")
    best, measured_best = next(iter(expected)), max(seen, key=lambda split: seen[split])
    result = {
        "suite": "splits", "cores": cores, "load": [prompt, output, requests], "expected": expected, "measured": seen,
        "best": best, "measured_best": measured_best, "within": round(seen[best] / seen[measured_best], 3),
    }  # fmt: skip
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(*(int(word) for word in sys.argv[1:])))
