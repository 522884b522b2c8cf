"""Unequal halves against equal ones: how many writes carry a prompt's KV, and how fast, for the same bytes.

A prefill worker has several decode workers, one of them spread like itself, and gets prompts for all of them in turn;
its metrics tell what its ranks wrote to each.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from ....engine.errors import PeerError
from ..comparison import Comparison, Goal, interleave
from ..suite import SuiteOptions
from .parallel_workers import WorkerProcess, Workers, workers

__all__ = ["SIZES", "kv_figures"]

SIZES: Mapping[int, Sequence[int]] = {1: (2,), 2: (1, 4), 3: (1,)}
"""Ranks of prefill -> ranks of the decode workers whose heads are cut otherwise."""

_SHORT_SIZES: Mapping[int, Sequence[int]] = {2: (1,)}
_GOAL = Goal(at_most=2.0)
_MODEL, _TOKENS, _CHUNK = "random:llama-12h", range(16, 272), 512
_PROMPT, _SHORT_PROMPT = 1920, 600
_PROMPTS, _SHORT_PROMPTS = 6, 2
_FLAGS = ("--model-path", _MODEL, "--dtype", "float32", "--kv-cache-dtype", "float32", "--disable-radix-cache",
          "--chunked-prefill-size", str(_CHUNK), "--max-total-tokens", "4096")  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Moved:
    """What prompts took to one decode worker."""

    prompts: int
    writes: float
    size: float
    seconds: float


def kv_figures(options: SuiteOptions, tell: Callable[[str], None]) -> Iterator[Comparison]:
    """Yields writes and goodput of each unequal pair.

    Raises:
        PeerError: a worker does not come up, or a pair carried other bytes.
    """
    for prefill, unequal in (_SHORT_SIZES if options.short else SIZES).items():
        wanted = [decode for decode in unequal if options.wants(_case(prefill, decode))]
        if not wanted:
            continue
        tell(f"prefill on {prefill} ranks, decode on {', '.join(map(str, (prefill, *wanted)))}")
        with workers() as started:
            pairs = _Pairs(started, prefill, (prefill, *wanted), options)
            found = pairs.measure(options.rounds)
            for decode in wanted:
                yield from _figures(prefill, decode, found, pairs.transport)


def _case(prefill: int, decode: int) -> str:
    return f"kv,tp={prefill}-{decode}"


class _Pairs:
    def __init__(self, started: Workers, prefill: int, decodes: Sequence[int], options: SuiteOptions) -> None:
        self._random = random.Random(f"{options.seed} {prefill}")
        self._length = _SHORT_PROMPT if options.short else _PROMPT
        self._prompts = _SHORT_PROMPTS if options.short else _PROMPTS
        flags = [*_FLAGS, "--disaggregation-mode", "prefill", "--tp-size", str(prefill)]
        self._prefill = started.worker(f"prefill-{prefill}", flags, has_bootstrap=True)
        self._decodes = {
            size: started.worker(f"decode-{size}", [*_FLAGS, "--disaggregation-mode", "decode", "--tp-size", str(size)])
            for size in decodes
        }
        started.wait_ready()
        self.transport = str(self._prefill.get("/server_info")["transfer"]["backend"])

    def measure(self, rounds: int) -> dict[int, list[_Moved]]:
        """Returns what went to each decode worker, by its ranks, in each round."""
        found: dict[int, list[_Moved]] = {size: [] for size in self._decodes}
        for decode in self._decodes.values():  # connects, and touches the memory
            self._ask(decode)

        def measure(size: int) -> float:
            found[size].append(self._carry(self._decodes[size]))
            return 0.0

        interleave({str(size): partial(measure, size) for size in self._decodes}, rounds)
        return found

    def _carry(self, decode: WorkerProcess) -> _Moved:
        before = self._counts(decode)
        for _ in range(self._prompts):
            self._ask(decode)
        writes, size, milliseconds = (after - old for after, old in zip(self._counts(decode), before, strict=True))
        return _Moved(self._prompts, writes, size, milliseconds / 1e3)

    def _counts(self, decode: WorkerProcess) -> tuple[float, ...]:
        label = f'peer="{decode.address}"'
        by_peer = (self._prefill.metric(f"pdpanel_kv_{name}_total", label) for name in ("writes", "bytes"))
        return (*by_peer, self._prefill.metric("sglang:kv_transfer_latency_ms_sum"))

    def _ask(self, decode: WorkerProcess) -> None:
        """Has a fresh prompt computed and carried; both halves have answered then."""
        body = {
            "input_ids": self._random.choices(_TOKENS, k=self._length),
            "sampling_params": {"temperature": 0, "max_new_tokens": 2, "ignore_eos": True},
            "bootstrap_host": "127.0.0.1",
            "bootstrap_port": self._prefill.bootstrap,
            "bootstrap_room": self._random.getrandbits(62) + 1,
        }
        with ThreadPoolExecutor(2) as pool:
            halves = [pool.submit(half.post, "/generate", body) for half in (self._prefill, decode)]
        try:
            for half in halves:
                half.result()
        except OSError as error:
            raise PeerError(f"A prompt did not get from {self._prefill.name} to {decode.name}: {error}.") from None


def _figures(prefill: int, decode: int, found: Mapping[int, list[_Moved]], transport: str) -> Iterator[Comparison]:
    ours, equal = found[decode], found[prefill]
    case, peer = _case(prefill, decode), f"tp {prefill}-{prefill}"
    if {one.size for one in ours} != {one.size for one in equal}:
        raise PeerError(f"{case} carried {ours[0].size:.0f} bytes where {peer} carried {equal[0].size:.0f}.")
    size = f"{ours[0].size / ours[0].prompts / 1e6:.3g} MB a prompt"
    counts = [one.writes / one.prompts for one in ours], [one.writes / one.prompts for one in equal]
    yield Comparison(case, "writes", "a prompt", counts[0], peer, counts[1], _GOAL, f"{size}; of all ranks of prefill")
    speeds = [one.size / one.seconds / 1e9 for one in ours], [one.size / one.seconds / 1e9 for one in equal]
    note = f"{size} by {transport}, ranks at the same time"
    yield Comparison(case, "kv_goodput", "GB/s", speeds[0], peer, speeds[1], note=note)
