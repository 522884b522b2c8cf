from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pdpanel.engine.errors import ConflictError
from pdpanel.panel.launch import LaunchPlan
from pdpanel.panel.proof import prove as real
from pdpanel.panel.proof.prove import Clock, Measures
from pdpanel.panel.proof.traffic import Answered
from pdpanel.panel.proof.verdict import Way
from pdpanel.panel.simulate import proof as simulated
from pdpanel.panel.simulate.proof import prover
from pdpanel.panel.simulate.seats import seated
from pdpanel.panel.simulate.sources import EngineTraffic
from pdpanel.panel.simulate.ticker import Ticker
from simulated_places import launch, prepared

MB = 1e6


def test_a_real_host_is_measured_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(simulated, "prove", lambda *values, **more: asked.append((*values, *more.values())))
    prover(None)("r", launch(), print)
    assert asked[0][:3] == ("r", launch(), print)
    assert not any(isinstance(value, Measures) for value in asked[0])


@pytest.mark.parametrize(("transport", "way", "link"), [("mooncake", Way.RDMA, "mlx5_0"), ("tcp", Way.LOOPBACK, "lo")])
def test_the_sentence_begins_with_the_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transport: str, way: Way, link: str
) -> None:
    host = prepared(tmp_path)
    plan = seated(launch(transport=transport), host)
    world = _World(host, plan)
    monkeypatch.setattr(simulated, "EngineBytes", lambda plan: world)
    monkeypatch.setattr(simulated, "Requests", lambda plan: world)
    monkeypatch.setattr(simulated, "prove", world.prove)
    said: list[str] = []
    made = prover(host)("r", plan, lambda text, share: said.append(text))
    assert made.verdict.sentence.startswith("SIMULATED: This deployment's KV travels over")
    assert (made.verdict.way, link in made.verdict.sentence) == (way, True), made.verdict
    assert made.expected_bytes == pytest.approx(30 * MB * host.kv_scale)
    assert said and all(text.startswith("SIMULATED: ") for text in said)


def test_what_somebody_else_started_is_no_business_of_a_simulated_host(tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="say nothing"):
        prover(prepared(tmp_path))("r", replace(launch(), attached=True), lambda text, share: None)


class _World:
    """An engine that moves 10 MB with each request, and a runner that ticks while time passes."""

    source = "/metrics of prefill-0"

    def __init__(self, host: Any, plan: LaunchPlan) -> None:
        self.t = 1e9
        self.moved = 0.0
        ticker = Ticker(host, lambda: self.t)
        self._traffic = EngineTraffic(plan, host, lambda: {("prefill-0", ""): self.moved} if self.moved else {}, ticker)

    def read(self) -> float:
        return self.moved

    def ask(self) -> Answered:
        self.moved += 10 * MB
        self.rest(1.0)
        return Answered(500)

    def rest(self, seconds: float) -> None:
        self.t += seconds
        self._traffic.read()

    def prove(self, run_id: str, plan: LaunchPlan, tell: Callable[[str, float], None], measures: Measures) -> Any:
        clock = Clock(lambda: self.t, self.rest, lambda: self.t)
        return real.prove(run_id, plan, tell, replace(measures, clock=clock))
