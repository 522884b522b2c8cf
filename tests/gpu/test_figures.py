"""The short form of the figures on a GPU: that they come, not what they are."""

from __future__ import annotations

import pytest
import torch
from pdpanel.panel.bench.suite import SuiteOptions
from pdpanel.panel.bench.suites.engine_gpu import measure_gpu


@pytest.mark.timeout(400)
def test_decode_and_the_offline_workload_are_measured(gpu: torch.device) -> None:
    told: list[str] = []
    found = {(one.case, one.metric): one for one in measure_gpu(SuiteOptions(short=True, rounds=1), told.append)}
    assert any(case.startswith("gpu-decode,batch=8") and metric == "bandwidth" for case, metric in found)
    assert any(case.startswith("gpu-offline,sequences=16") for case, _ in found)
    assert all(one.value > 0 for one in found.values())
    assert "CUDA graphs of up to 8" in " ".join(told), told
