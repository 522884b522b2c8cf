"""The command line as a process of its own, and its commands over fake workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError, NotFoundError
from pdpanel.panel import cli_runs
from pdpanel.panel.deployment import parse_deployment_text
from pdpanel.panel.rundir import RunDir
from pdpanel.panel.runner.state import read_record

from .conftest import FakeRuns, wait_for


def pdpanel(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PDPANEL_STATE_DIR": str(state)}
    command = [sys.executable, "-m", "pdpanel.panel.cli", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=50, check=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["up", "--decode", "0"], "decode.count = 0: nothing takes over"),
        (["up", "--prefill", "65"], "prefill.count = 65: is more than 64"),
        (["up", "--model", ""], "model = '': is empty"),
        (["up", "--transport", "rdma"], "transport = 'rdma'"),
        (["up", "--port", "0"], "router.port = 0"),
        (["up", "nowhere.yaml"], "deployment = 'nowhere.yaml': No such file"),
        (["up", "--preset", "nope"], "--preset = 'nope': is not a preset; see"),
        (["up", "a.yaml", "--preset", "b"], "--preset = 'b': cannot go with"),
        (["up", "--prefill", "many"], "--prefill = 'many': is not a whole number; write one in digits."),
        (["up", "--no-such-flag"], "No such option"),
        (["down", "--run", "nope"], "--run = 'nope': is not a run"),
        (["status", "--run", "nope"], "--run = 'nope': is not a run"),
        (["fly"], "No such command"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = pdpanel(tmp_path, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_without_runs_there_is_nothing_to_show_or_stop(tmp_path: Path) -> None:
    assert json.loads(pdpanel(tmp_path, "status", "--json").stdout) == {"runs": []}
    assert pdpanel(tmp_path, "status").stdout == "no run is active\n"
    assert (done := pdpanel(tmp_path, "down")).returncode == 0 and done.stdout == "no run is active\n"
    assert (done := pdpanel(tmp_path, "logs", "decode-0")).returncode == 1
    assert done.stderr == "pdpanel: There is no run yet; start one with `pdpanel up`.\n"


def test_a_dry_run_prints_a_deployment_file(tmp_path: Path) -> None:
    done = pdpanel(tmp_path, "up", "--dry-run", "--unified", "2", "--name", "base", "--model", "a b")
    assert done.returncode == 0
    deployment = parse_deployment_text(done.stdout)
    assert (deployment.name, deployment.unified.count, deployment.prefill.count) == ("base", 2, 0)
    assert "--model-path 'a b'" in done.stdout
    assert not (tmp_path / "runs").exists()


def test_the_other_commands_import_nothing_heavy() -> None:
    code = (
        "import sys; from pdpanel.panel import cli, cli_deployment\n"
        "print([name for name in ('gradio', 'fastapi', 'torch', 'aiohttp', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_up_shows_what_happens_and_how_to_use_it(fake: FakeRuns, capsys: pytest.CaptureFixture[str]) -> None:
    fake.delay_s = {"decode-0": 1.5}  # longer than the pause between two looks, on a busy machine too
    assert cli_runs.up(fake.runs, fake.deployment(served_model_name="it's")) == 0
    out = capsys.readouterr().out
    view = fake.runs.list()[0]
    assert f"run {view.id}: m over mooncake" in out
    assert "decode-0   starting  loading weights" in out
    assert all(f"{name:<10} ready" in out for name in ("decode-0", "prefill-0", "router"))
    assert f": {view.router_url}\n" in out
    assert f"try: curl {view.router_url}/v1/chat/completions" in out
    assert """'{"model": "it'"'"'s", "messages": [{"role": "user",""" in out


def test_up_that_fails_says_why_and_leaves_nothing_running(fake: FakeRuns, capsys: pytest.CaptureFixture[str]) -> None:
    fake.behaviour = {"decode-0": "crash"}
    assert cli_runs.up(fake.runs, fake.deployment()) == 1
    err = capsys.readouterr().err
    assert "decode-0 crashed: exit code 3: RuntimeError: no such model" in err
    assert "  exit-failed: It ended with an error." in err
    assert "  loading\n" in err and "\x1b" not in err
    view = fake.runs.list()[0]
    assert (view.state, view.supervised) == ("failed", False)


def test_up_with_a_model_that_cannot_be_had_says_the_sentence(
    fake: FakeRuns, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.prepare_code = "import sys; print('model = 1: no such model; name another.', file=sys.stderr); sys.exit(2)"
    assert cli_runs.up(fake.runs, fake.deployment()) == 1
    assert "failed: model = 1: no such model; name another." in capsys.readouterr().err


def test_status_logs_and_down_of_a_run(fake: FakeRuns) -> None:
    state = fake.config.state_dir
    view = fake.wait(fake.start().id, "ready")
    shown = json.loads(pdpanel(state, "status", "--json").stdout)
    assert shown == {
        "runs": [
            {
                "id": view.id,
                "state": "ready",
                "notice": "",
                "supervised": True,
                "simulated": False,
                "router_url": view.router_url,
                "processes": [
                    {
                        "name": process.name,
                        "role": process.role,
                        "pid": process.pid,
                        "port": process.port,
                        "state": "ready",
                        "restarts": 0,
                        "stage": "",
                        "progress": None,
                        "reason": "",
                        "exit_code": None,
                        "findings": [],
                    }
                    for process in view.processes
                ],
                "removed": [],
            }
        ]
    }
    assert f"{view.id}  ready" in pdpanel(state, "status").stdout
    assert "decode-0 listens on" in pdpanel(state, "logs", "decode-0").stdout
    assert '"event":"spawn"' in pdpanel(state, "logs", "runner", "--run", view.id).stdout
    done = pdpanel(state, "logs", "../../x")
    assert done.returncode == 2 and "log = '../../x'" in done.stderr
    done = pdpanel(state, "down", "--run", "fake")
    assert done.returncode == 0 and done.stdout.endswith(f"{view.id} stopped\n")
    assert json.loads(pdpanel(state, "status", "--json").stdout)["runs"][0]["state"] == "stopped"


def test_down_asks_which_of_several_runs(fake: FakeRuns, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = fake.start(name="one"), fake.start(name="two")
    with pytest.raises(ConfigError) as caught:
        cli_runs.down(fake.runs, None, every=False)
    assert one.id in caught.value.remedy and two.id in caught.value.remedy
    assert cli_runs.down(fake.runs, "one", every=False) == 0
    assert fake.runs.get(two.id).state in {"starting", "ready"}
    assert cli_runs.down(fake.runs, None, every=True) == 0
    assert {view.state for view in fake.runs.list()} == {"stopped"}
    assert capsys.readouterr().out.count("stopped\n") == 2


def test_logs_follow_until_the_run_has_ended(fake: FakeRuns) -> None:
    view = fake.wait(fake.start().id, "ready")
    state = fake.config.state_dir
    following = subprocess.Popen(
        [sys.executable, "-m", "pdpanel.panel.cli", "--state-dir", str(state), "logs", "runner", "-f"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert following.stdout is not None
    first = following.stdout.readline()
    assert '"event":"runner"' in first
    fake.runs.stop(view.id)
    rest = following.stdout.read()
    following.stdout.close()
    assert following.wait(20) == 0
    assert '"event":"end"' in rest


def test_a_log_that_is_not_there_yet_is_empty(fake: FakeRuns, capsys: pytest.CaptureFixture[str]) -> None:
    view = fake.start()
    cli_runs.logs(fake.runs, "model", view.id, follow=False)
    assert capsys.readouterr().out == ""
    with pytest.raises(NotFoundError):
        cli_runs.logs(fake.runs, "decode-5", view.id, follow=False)
    wait_for(lambda: fake.runs.get(view.id).state == "ready", "ready")


def test_adopt_restart_and_resume(fake: FakeRuns, capsys: pytest.CaptureFixture[str]) -> None:
    view = fake.wait(fake.start().id, "ready")
    assert cli_runs.adopt(fake.runs, None) == 0
    assert "every active run has a runner" in capsys.readouterr().out
    record = read_record(RunDir(fake.config.runs_dir / view.id).state)
    assert record is not None and record.runner_pid is not None
    os.kill(record.runner_pid, signal.SIGKILL)
    fake.wait(view.id, "unsupervised")
    cli_runs.status(fake.runs, None, as_json=False)
    assert f"a new runner takes it over: pdpanel adopt --run {view.id}" in capsys.readouterr().out
    done = pdpanel(fake.config.state_dir, "adopt", "--run", "fake")
    assert (done.returncode, done.stdout) == (0, f"{view.id} is ready: it has a runner\n")
    assert cli_runs.restart(fake.runs, None, "decode-0") == 0
    fake.wait(view.id, "ready")
    assert cli_runs.restart(fake.runs, None, None) == 0
    assert [process.restarts for process in fake.runs.get(view.id).processes] == [2, 1, 1]
    fake.runs.stop(view.id)
    with pytest.raises(ConfigError, match="no run is active"):
        cli_runs.restart(fake.runs, None, None)
    assert cli_runs.resume(fake.runs, None) == 0
    assert f"run {view.id}: m over mooncake" in capsys.readouterr().out
    done = pdpanel(fake.config.state_dir, "up", "--resume", view.id)
    assert done.returncode == 2 and "is ready; restart it" in done.stderr
