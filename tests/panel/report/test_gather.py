from __future__ import annotations

import json
from pathlib import Path

import pytest
from ended_runs import make_run
from pdpanel.engine.errors import NotFoundError
from pdpanel.panel.config import PanelConfig
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.launch import encode_plan
from pdpanel.panel.plan import RunIds, plan
from pdpanel.panel.report.gather import RunReports
from pdpanel.panel.runner.state import initial_record
from pdpanel.panel.runs import Runs

SECRET = "hf_0123456789abcdefghijklmnop"


@pytest.fixture
def config(tmp_path: Path) -> PanelConfig:
    return PanelConfig(tmp_path / "state", tmp_path / "cache", tmp_path / "config")


@pytest.fixture
def texts(config: PanelConfig) -> dict[str, str]:
    """The files of a report about a run with secrets wherever a run can have one."""
    prefill = {"count": 1, "flags": {"api-key": "s3cret"}}
    deployment = parse_deployment(
        {"name": "pd", "model": "m", "env": {"HF_TOKEN": SECRET}, "prefill": prefill, "decode": {"count": 1}}
    )
    made = plan(deployment, HostFacts("here", 2, "/opt/python"), RunIds("pd-1", "/runs/pd-1", "/cache"))
    rundir = make_run(config.state_dir, "pd-1", processes=initial_record("pd-1", made, 0.0, "").processes)
    rundir.write(rundir.deployment, f"env:\n  HF_TOKEN: {SECRET}\nprefill:\n  flags: {{api-key: s3cret}}\n".encode())
    rundir.write(rundir.plan, encode_plan(made))
    for spec in made.processes:
        text = f"--api-key s3cret\nAuthorization: Bearer {SECRET}\ntorch.OutOfMemoryError: CUDA out of memory.\n"
        (rundir.logs / spec.log).write_text(text)
    (rundir.logs / f"{made.processes[0].name}.head.log").write_text("the first line\n")
    report = RunReports(Runs(config), probes_host=False).report("pd-1")
    return {file.name: file.data.decode() for file in report.files}


def test_it_holds_what_a_bug_report_needs(texts: dict[str, str]) -> None:
    logs = {name for name in texts if name.startswith("logs/")}
    assert {"logs/prefill-0.log", "logs/decode-0.log", "logs/router.log"} < logs
    assert any(name.endswith(".head.log") for name in logs)
    assert set(texts) - logs == {
        *("README.txt", "versions.json", "record.json", "deployment.yaml", "plan.json", "findings.json"),
        *("samples.csv", "samples-last.csv", "runner.log"),
    }
    assert json.loads(texts["record.json"])["id"] == "pd-1"
    assert json.loads(texts["plan.json"])["processes"]
    assert json.loads(texts["versions.json"])["pdpanel"]
    assert texts["samples.csv"].startswith("unix_s,utc,proc/d/rss_bytes (B),")
    assert len(texts["samples-last.csv"].splitlines()) == 241
    findings = json.loads(texts["findings.json"])
    assert findings["logs/prefill-0.log"], "the log is explained"


def test_no_secret_is_in_it(texts: dict[str, str]) -> None:
    together = "".join(texts.values())
    assert SECRET not in together and "s3cret" not in together
    assert together.count("<redacted>") > 6
    assert str(Path.home()) not in together or str(Path.home()) == "/"


def test_what_cannot_be_had_says_so_in_its_place(config: PanelConfig) -> None:
    rundir = make_run(config.state_dir, "pd-1")
    rundir.plan.write_bytes(b"{")
    rundir.deployment.unlink()
    rundir.samples.write_bytes(b"x" * 5000)
    report = RunReports(Runs(config), probes_host=False).report("pd-1")
    texts = {file.name: file.data.decode() for file in report.files}
    assert texts["plan.json"].startswith("This could not be gathered: ConfigError: plan.json")
    assert "has no deployment" in texts["deployment.yaml"]
    assert texts["logs/p.log"].startswith("started\n") and texts["runner.log"]
    assert texts["samples.csv"] == "unix_s,utc\n"


def test_a_run_that_there_is_not_has_no_report(config: PanelConfig) -> None:
    with pytest.raises(NotFoundError):
        RunReports(Runs(config)).report("pd-9")


def test_this_host_is_part_of_it(config: PanelConfig) -> None:
    make_run(config.state_dir, "pd-1", samples=0)
    report = RunReports(Runs(config)).report("pd-1")
    (host,) = [file for file in report.files if file.name == "host.json"]
    assert set(json.loads(host.data)) == {"probe", "findings"}
