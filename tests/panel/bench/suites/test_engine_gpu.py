"""The GPU figures of the engine suite, as far as a host without one can tell: workload, engine, fallbacks."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from pdpanel.panel.bench.suite import SuiteOptions
from pdpanel.panel.bench.suites.engine_gpu import measure_gpu, peak_bandwidth
from pdpanel.panel.bench.suites.engine_gpu_ours import OfflineEngine
from pdpanel.panel.bench.suites.engine_gpu_workload import QWEN3_0_6B, offline_workload

TINY = dataclasses.replace(QWEN3_0_6B, layers=1, hidden=64, heads=2, kv_heads=1, head_dim=32, ffn=64, vocab=128)


def test_the_workload_is_the_published_one() -> None:
    workload = offline_workload()
    assert (len(workload.prompts), workload.output_tokens) == (256, 133_966)
    assert {100 <= len(prompt) <= 1024 for prompt in workload.prompts} == {True}
    assert workload.places == 133_966 + sum(map(len, workload.prompts))


@pytest.mark.parametrize(
    ("name", "peak"), [("NVIDIA H200", 4.8e12), ("NVIDIA H100 80GB HBM3", 3.35e12), ("NVIDIA GeForce RTX 4070", None)]
)
def test_a_gpus_bandwidth_is_that_of_its_data_sheet(name: str, peak: float | None) -> None:
    assert peak_bandwidth(name) == peak


def test_without_a_gpu_nothing_is_measured_and_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    told: list[str] = []
    assert list(measure_gpu(SuiteOptions(), told.append)) == []
    assert len(told) == 1 and "no GPU" in told[0]


def test_the_offline_engine_makes_every_token_of_a_workload() -> None:
    workload = offline_workload(4, least=3, most=9)
    small = dataclasses.replace(workload, prompts=tuple(tuple(i % 128 for i in one) for one in workload.prompts))
    engine = OfflineEngine(TINY, torch.device("cpu"), running=3, places=small.places, longest=32)
    assert engine.run(small) > 0
    assert engine.step_seconds(2, 20, 1) > 0
    assert engine.weight_bytes > 4 * 128 * 64
