"""The engine suite's figures on a GPU: the published offline workload, and the share of its bandwidth that decode uses.

The `engine` suite calls `measure_gpu`, which yields nothing where torch has no GPU. Weights are random, of Qwen3-0.6B's
shape: speed does not depend on what they say.
"""

from __future__ import annotations

import dataclasses
import gc
import json
from collections.abc import Callable, Iterator

import torch

from ....engine.model.shape import ModelShape
from ..comparison import Comparison, Goal, compare, interleave
from ..suite import SuiteOptions
from .engine_gpu_ours import OfflineEngine
from .engine_gpu_peer import ContinuousBatching, why_no_peer
from .engine_gpu_workload import QWEN3_0_6B, Workload, offline_workload

__all__ = ["measure_gpu", "peak_bandwidth"]

Tell = Callable[[str], None]

# What the makers' data sheets say, in bytes/s; the first name that is part of the device's counts.
_PEAKS = {
    "H200": 4.8e12,
    "H100 NVL": 3.9e12,
    "H100 PCIe": 2.0e12,
    "H100": 3.35e12,
    "B200": 8.0e12,
    "A100-SXM4-80GB": 2.04e12,
    "MI300X": 5.3e12,
    "MI325X": 6.0e12,
}
_CONTEXT = 1024
_BATCHES = (1, 8, 64, 256)
_SHARE, _SPEED = Goal(at_least=0.7), Goal(at_least=2.0)
_SHORT_SHAPE = dataclasses.replace(QWEN3_0_6B, layers=2, vocab=16_384)


def peak_bandwidth(name: str) -> float | None:
    """Returns the memory bandwidth of a GPU by its name in bytes/s, None where it is not known."""
    return next((peak for part, peak in _PEAKS.items() if part in name), None)


def measure_gpu(options: SuiteOptions, tell: Tell) -> Iterator[Comparison]:
    """Yields the figures of this host's first GPU; nothing, with the reason told, where there is none."""
    if not torch.cuda.is_available():
        tell("no GPU: torch finds none, so the figures on one are left out")
        return
    device = torch.device("cuda", 0)
    name = torch.cuda.get_device_name(device)
    tell(f"GPU {name}, torch {torch.__version__}")
    shape = _SHORT_SHAPE if options.short else QWEN3_0_6B
    if options.wants("gpu-decode"):
        yield from _decode(shape, device, name, options, tell)
    if options.wants("gpu-offline"):
        workload = offline_workload(16, least=10, most=40) if options.short else offline_workload()
        yield from _offline(shape, device, workload, options, tell)


def _decode(
    shape: ModelShape, device: torch.device, name: str, options: SuiteOptions, tell: Tell
) -> Iterator[Comparison]:
    batches = (1, 8) if options.short else _BATCHES
    peak = peak_bandwidth(name)
    places = max(batches) * _CONTEXT
    engine = OfflineEngine(shape, device, running=max(batches), places=places, longest=_CONTEXT + 16)
    tell(f"decode: {json.dumps(dataclasses.asdict(engine.executor.info))}")
    for batch in batches:
        steps = 5 if options.short else 50
        seconds = [engine.step_seconds(batch, _CONTEXT, steps) for _ in range(options.rounds)]
        case = f"gpu-decode,batch={batch},context={_CONTEXT}"
        moved = engine.weight_bytes + batch * _CONTEXT * engine.kv_bytes_per_token
        yield Comparison(case, "output_tokens_per_s", "tokens/s", [batch / second for second in seconds])
        rates = [moved / second for second in seconds]
        yield Comparison(
            case, "bandwidth", "TB/s", [rate / 1e12 for rate in rates], note="weights and KV over step time"
        )
        if peak is not None:
            goal = _SHARE if batch == max(_BATCHES) else None
            share = [rate / peak for rate in rates]
            yield Comparison(case, "bandwidth_share", f"of {peak / 1e12:g} TB/s", share, goal=goal)
    del engine
    _free()


def _offline(
    shape: ModelShape, device: torch.device, workload: Workload, options: SuiteOptions, tell: Tell
) -> Iterator[Comparison]:
    running = len(workload.prompts)
    longest = max(len(prompt) + output for prompt, output in zip(workload.prompts, workload.outputs, strict=True))
    missing = why_no_peer()
    if missing:
        tell(missing)
    rounds = 1 if options.short else min(options.rounds, 3)

    def ours() -> float:
        engine = OfflineEngine(shape, device, running=running, places=workload.places, longest=longest)
        try:
            return workload.output_tokens / engine.run(workload)
        finally:
            del engine
            _free()

    def theirs() -> float:
        peer = ContinuousBatching(shape, device)
        try:
            return workload.output_tokens / peer.run(workload)
        finally:
            del peer
            _free()

    measures = {"pdpanel": ours} if missing else {"pdpanel": ours, "transformers continuous batching": theirs}
    case = f"gpu-offline,sequences={running},output_tokens={workload.output_tokens}"
    found = interleave(measures, rounds)
    if missing:
        yield Comparison(case, "output_tokens_per_s", "tokens/s", found["pdpanel"], note=missing)
    else:
        yield from compare(case, "output_tokens_per_s", "tokens/s", found, "pdpanel", goal=_SPEED)


def _free() -> None:
    gc.collect()
    torch.cuda.empty_cache()
