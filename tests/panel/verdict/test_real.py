"""One real bottleneck through a real run's samples; the whole set with its ablations is `pdpanel bench verdict`."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from pathlib import Path

import pytest
from pdpanel.panel.bench.arranged import Load
from pdpanel.panel.bench.bottlenecks import BottlenecksPlan, BottlenecksResult, measure_bottlenecks
from pdpanel.panel.bench.pressure import answered_per_s
from pdpanel.panel.bench.session import deployment, running
from pdpanel.panel.bench.small_model import write_small_model
from pdpanel.panel.config import PanelConfig
from pdpanel.panel.runs import Runs
from pdpanel.panel.verdict.look import Look
from pdpanel.panel.verdict.values import Limit, Verdict

PATIENCE_S = 70.0


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(PanelConfig(tmp_path / "state", tmp_path / "cache", tmp_path / "config"))


def test_long_answers_of_one_client_are_decodes(runs: Runs, tmp_path: Path) -> None:
    model = str(write_small_model(tmp_path / "small"))
    wanted = deployment("verdict", {"prefill": 1, "decode": 1}, model=model, transport="tcp")
    found: list[Verdict] = []
    with running(runs, wanted, lambda text: None) as run:
        look = Look(runs)
        assert look.verdict(run.id).limit in {Limit.NOTHING, Limit.UNKNOWN}

        enough = threading.Event()

        def load() -> None:
            while not enough.is_set():
                asyncio.run(answered_per_s(run.url, Load(16, 1500, clients=1), 0.0, 0.0, 2.0, random.Random(0)))

        pressing = threading.Thread(target=load)
        pressing.start()
        try:
            # Beside other tests an answer takes many times as long, and a page of metrics too.
            deadline = time.monotonic() + PATIENCE_S
            while time.monotonic() < deadline and not (found and found[-1].limit is Limit.DECODE):
                found.append(look.verdict(run.id))
                enough.wait(0.5)
        finally:
            enough.set()
            pressing.join()
    assert found[-1].limit is Limit.DECODE, [one.sentence for one in found]
    assert look.verdict(run.id).limit is Limit.UNKNOWN  # it has ended


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_verdict_agrees_with_the_ablations(runs: Runs) -> None:
    result = BottlenecksResult(list(measure_bottlenecks(runs, BottlenecksPlan(), print)))
    assert result.ok, "\n".join(case.text() for case in result.cases)
