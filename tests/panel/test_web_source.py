from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from pdpanel.engine.errors import ConfigError, NotFoundError
from pdpanel.panel.config import PanelConfig
from pdpanel.panel.deployment import Deployment
from pdpanel.panel.history.run_history import RunHistory
from pdpanel.panel.launch import LaunchPlan, Role
from pdpanel.panel.runner.lifecycle import ProcessState, RunState
from pdpanel.panel.runner.samples import SampleBatch, SampleRow
from pdpanel.panel.runner.series import SeriesInfo
from pdpanel.panel.runs import ProcessView, Runs, RunView
from pdpanel.panel.web.port import DeployForm
from pdpanel.panel.web.source import RunsSource


def process(name: str, role: Role, state: ProcessState = ProcessState.READY, **more: Any) -> ProcessView:
    fields: dict[str, Any] = {
        "pid": 7,
        "port": 30000,
        "stage": "",
        "started_at": 5.0,
        "cpu_percent": 12.5,
        "rss_bytes": 1000,
        "restarts": 0,
        "reason": "",
        "log": "/x.log",
        **more,
    }
    return ProcessView(name=name, role=role, state=state, **fields)


class FakeRuns:
    """Stands in for Runs where only translation is tested."""

    loads_dir = Path("/nowhere/loads")
    simulation = None
    history = RunHistory(PanelConfig(Path("/nowhere"), Path("/nowhere"), Path("/nowhere")))

    def __init__(self, notice: str = "", state: RunState = RunState.READY) -> None:
        self.started: list[Deployment] = []
        self.view = RunView(
            id="pd-1",
            name="pd",
            state=state,
            created_at=4.0,
            router_url="http://127.0.0.1:8000/",
            model="m",
            transport="mooncake",
            notice=notice,
            processes=(
                process("prefill-0", Role.PREFILL),
                process("decode-0", Role.DECODE, ProcessState.CRASHED, pid=None, reason="out of memory"),
                process("decode-1", Role.DECODE, ProcessState.STARTING, stage="loading"),
                process("router", Role.ROUTER),
            ),
            supervised=True,
        )

    def list(self) -> list[RunView]:
        return [self.view]

    def plan(self, run_id: str) -> LaunchPlan:
        raise NotFoundError("run", run_id, "has no plan", "start it anew")

    def start(self, deployment: Deployment) -> RunView:
        self.started.append(deployment)
        return self.view

    def samples(self, run_id: str, since: int = 0, known: str = "") -> SampleBatch:
        keys = ("run/kv_bytes_per_s", "proc/decode-0/unheard_of")
        series = {key: SeriesInfo(key, "t", "u", "engine /metrics") for key in keys}
        return SampleBatch(9, series, [SampleRow(9, 12.5, dict.fromkeys(keys, 1e6))])


def source(runs: FakeRuns) -> RunsSource:
    return RunsSource(cast(Runs, runs))


def test_run_is_translated() -> None:
    (run,) = source(FakeRuns()).runs()
    assert (run.id, run.state, run.mode, run.router_url) == ("pd-1", "ready", "pd", "http://127.0.0.1:8000")
    assert run.links == (("prefill-0", "decode-0"), ("prefill-0", "decode-1"))
    crashed, starting = run.processes[1:3]
    assert (crashed.state, crashed.message, crashed.started_s) == ("crashed", "out of memory", None)
    assert (starting.state, starting.stage, starting.started_s) == ("starting", "loading", 5.0)


@pytest.mark.parametrize(
    ("notice", "share"),
    [
        ("fetching SmolLM2-135M-Instruct 45 of 90 MB", 0.5),
        ("fetching x 120 of 90 MB", 1.0),
        ("fetching x 1 of 0 MB", None),
        ("converting", None),
        ("", None),
    ],
)
def test_notice_of_a_download_has_a_share(notice: str, share: float | None) -> None:
    (run,) = source(FakeRuns(notice)).runs()
    assert (run.notice, run.progress) == (notice, share)


def test_form_becomes_a_deployment() -> None:
    runs = FakeRuns()
    assert source(runs).start(DeployForm("pd", " m ", 2, 3, "tcp")) == "pd-1"
    source(runs).start(DeployForm("unified", "m", 2, 3, "mooncake"))
    source(runs).start(DeployForm("unified", "m", 2, 3, "mooncake", 4))
    apart, unified, several = runs.started
    assert several.unified.count == 4
    assert (apart.model, apart.transport, apart.prefill.count, apart.decode.count) == ("m", "tcp", 2, 3)
    assert (unified.unified.count, unified.prefill.count, unified.decode.count) == (1, 0, 0)


def test_bad_form_is_one_sentence() -> None:
    runs = FakeRuns()
    with pytest.raises(ConfigError, match="transport"):
        source(runs).start(DeployForm("pd", "m", 1, 1, "pigeon"))
    assert runs.started == []


def test_every_offered_transport_is_known() -> None:
    runs = FakeRuns()
    translated = source(runs)
    for transport in translated.choices.transports:
        translated.start(DeployForm("pd", translated.choices.models[0], 1, 1, transport))
    assert len(runs.started) == len(translated.choices.transports)


def test_samples_are_those_that_charts_show() -> None:
    batch = source(FakeRuns()).samples("pd-1", 0)
    assert batch.last_seq == 9
    assert [series.key for series in batch.series] == ["run/kv_bytes_per_s"]
    assert batch.rows == ((12.5, {"run/kv_bytes_per_s": 1e6}),)


def test_log_path_is_that_of_the_run(tmp_path: Path) -> None:
    runs = FakeRuns()
    runs.log_path = lambda run_id, name: tmp_path / f"{run_id}.{name}"  # type: ignore[attr-defined]
    assert source(runs).log_path("pd-1", "decode-0") == tmp_path / "pd-1.decode-0"


def test_an_offer_runs_nothing_that_nobody_has_agreed_to(tmp_path: Path) -> None:
    ran, python = tmp_path / "ran", tmp_path / "python"
    python.write_text(f"#!/bin/sh\ntouch {ran}\nexit 3\n")
    python.chmod(0o755)
    config = PanelConfig(tmp_path / "state", tmp_path / "cache", tmp_path / "config")
    translated = RunsSource(Runs(config))
    text = "engine: sglang\nmodel: m\nprefill: {count: 1}\ndecode: {count: 1}\n"
    offer = translated.offer(text + f"run: {{python: {python}, cwd: {tmp_path}}}\n")
    assert offer.needs_consent and not ran.exists()
    # A folder of the deployment's own is shown: an interpreter looks for modules there first.
    assert {process.cwd for process in offer.processes} == {str(tmp_path)}
    with pytest.raises(ConfigError, match="without the package"):
        translated.start_text(text + f"run: {{python: {python}, cwd: {tmp_path}}}\n", offer.consent)
    assert ran.exists()
    plain = translated.offer("model: m\nprefill: {count: 1}\ndecode: {count: 1}\n")
    assert not plain.needs_consent and {process.cwd for process in plain.processes} == {""}
