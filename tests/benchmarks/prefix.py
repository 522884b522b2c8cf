"""Time to the first token with and without the prefix cache, over a pair of real workers behind the router.

    python tests/benchmarks/prefix.py [ROUNDS]

For each length of the common beginning: a fresh random beginning with one tail (cold), then the same beginning with
another tail (hit), so that both kinds take turns and share what else the host does. Prefill and decode have one thread
each. Prints medians, and as the last line JSON with the ratio hit / cold.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "support"))
from cluster import cluster

LENGTHS = (128, 512, 1536)
TAIL = 32
VOCAB = 49152


def first_token(url: str, ids: list[int]) -> tuple[float, int]:
    """Returns the seconds to the first event of a stream, and how many prompt tokens were cached."""
    sampling = {"temperature": 0, "max_new_tokens": 2, "ignore_eos": True}
    body = json.dumps({"input_ids": ids, "sampling_params": sampling, "stream": True}).encode()
    request = urllib.request.Request(url + "/generate", body, {"Content-Type": "application/json"})
    began = time.perf_counter()
    try:
        opened = urllib.request.urlopen(request, timeout=300)
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{error}: {error.read().decode()}") from None
    with opened as response:
        lines = (line for line in response if line.startswith(b"data:"))
        event = json.loads(next(lines).removeprefix(b"data:"))
        seconds = time.perf_counter() - began
        for _ in lines:  # to the end, so that the pages are kept before the next request
            pass
    return seconds, event["meta_info"]["cached_tokens"]


def main(rounds: int) -> None:
    drawn = random.Random(11)

    def some(count: int) -> list[int]:
        return [drawn.randrange(100, VOCAB) for _ in range(count)]

    ratios: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder), [], prefill=1, decode=1) as pair:
        url = pair.url
        first_token(url, some(LENGTHS[0]))
        for length in LENGTHS:
            cold: list[float] = []
            hits: list[float] = []
            for _ in range(rounds):
                beginning = some(length)
                for times, cached in ((cold, 0), (hits, length)):
                    seconds, known = first_token(url, [*beginning, *some(TAIL)])
                    if known != cached:
                        raise SystemExit(f"{known} tokens were cached where {cached} were expected")
                    times.append(seconds)
                    time.sleep(0.05)  # decode's acknowledgement arrives
            slow, fast = statistics.median(cold), statistics.median(hits)
            ratios[length] = round(fast / slow, 3)
            print(f"{length} + {TAIL} tokens: cold {slow * 1000:.0f} ms, hit {fast * 1000:.0f} ms, {fast / slow:.2f}")
    print(json.dumps({"rounds": rounds, "hit_over_cold": ratios}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
