from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from ended_runs import CREATED_S, make_run
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.cli import app
from pdpanel.panel.runner.lifecycle import RunState
from typer.testing import CliRunner, Result


def run(state_dir: Path, *arguments: str) -> Result:
    cache = str(state_dir.parent / "cache")
    return CliRunner().invoke(app, ["--state-dir", str(state_dir), "--cache-dir", cache, *arguments])


def refused(result: Result) -> str:
    assert isinstance(result.exception, ConfigError), result.output
    return str(result.exception)


def test_history_says_what_each_run_came_to(tmp_path: Path) -> None:
    assert run(tmp_path, "history").output == "no run has ended yet\n"
    make_run(tmp_path, "pd-1")
    make_run(tmp_path, "pd-2", state=RunState.FAILED, notice="no \x1b[31mluck", ended_at=CREATED_S + 7300, samples=0)
    failed, stopped = run(tmp_path, "history").output.splitlines()
    assert stopped.startswith("pd-1  stopped  20")
    assert "2.0 min, 1 prefill 1 decode 1 router, SmolLM2-135M-Instruct over tcp, KV 239 B/s, 239 tokens/s" in stopped
    assert "2 crashes" in stopped
    assert failed.startswith("pd-2  failed") and "2.0 h" in failed and failed.endswith("no luck")


def test_history_as_json_has_every_field(tmp_path: Path) -> None:
    make_run(tmp_path, "pd-1")
    (found,) = json.loads(run(tmp_path, "history", "--json").output)["runs"]
    assert set(found) == {
        *("id", "name", "state", "created_s", "ended_s", "duration_s", "model", "transport", "mode", "processes"),
        *("peaks", "crashes", "notice", "bytes_on_disk", "attached", "simulated"),
    }
    assert set(found["peaks"]) == {"kv_bytes_per_s", "generated_tokens_per_s", "running", "rss_bytes"}


def test_prune_says_what_it_frees_before_it_does(tmp_path: Path) -> None:
    rundir = make_run(tmp_path, "pd-1")
    looked = run(tmp_path, "prune", "--dry-run")
    assert "pd-1  (ended " in looked.output and "frees " in looked.output
    assert "--yes = False: is needed where nobody can be asked" in refused(run(tmp_path, "prune"))
    assert rundir.state.exists()
    done = run(tmp_path, "prune", "--yes")
    assert done.exit_code == 0 and done.output.splitlines()[-1].startswith("freed ")
    assert not rundir.path.exists()
    assert run(tmp_path, "prune").output == "there is nothing to free\n"


def test_prune_as_json(tmp_path: Path) -> None:
    rundir = make_run(tmp_path, "pd-1")
    looked = json.loads(run(tmp_path, "prune", "--json", "--dry-run").output)
    assert (looked["removed"], looked["items"][0]["name"]) == (False, "pd-1")
    assert looked["size_bytes"] == looked["items"][0]["size_bytes"] > 24_000
    done = json.loads(run(tmp_path, "prune", "--json", "--yes", "--run", "pd-1").output)
    assert done["removed"] is True and not rundir.path.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--days", "many"], "--days = 'many': is not a number of days"),
        (["--days", "nan"], "--days = 'nan': is not a number of days"),
        (["--keep", "-1"], "--keep = '-1': is not a whole number"),
    ],
)
def test_bad_numbers_are_one_sentence(tmp_path: Path, arguments: list[str], said: str) -> None:
    assert said in refused(run(tmp_path, "prune", *arguments))


def test_a_report_lists_what_it_holds_and_is_written_when_agreed_to(tmp_path: Path) -> None:
    make_run(tmp_path / "state", "pd-1")
    target = tmp_path / "out.zip"
    given = ["report", "pd", "-o", str(target), "--no-host"]
    listed = run(tmp_path / "state", *given, "--list")
    assert "runner.log" in listed.output and "together, before it is packed" in listed.output
    assert "--yes = False: is needed" in refused(run(tmp_path / "state", *given))
    assert not target.exists()
    done = run(tmp_path / "state", *given, "--yes")
    assert done.output.endswith(f"{target}: look through it before you send it\n")
    assert target.stat().st_mode & 0o777 == 0o600
    names = zipfile.ZipFile(io.BytesIO(target.read_bytes())).namelist()
    assert all(name in listed.output for name in names)
    assert "is there already; add --force" in refused(run(tmp_path / "state", *given, "--yes"))
    assert run(tmp_path / "state", *given, "--yes", "--force").exit_code == 0


def test_a_report_of_nothing_or_to_nowhere_is_refused(tmp_path: Path) -> None:
    assert "RUN = 'pd': is not a run of this user" in refused(run(tmp_path, "report", "pd"))
    make_run(tmp_path, "pd-1", samples=0)
    nowhere = ["report", "pd-1", "--no-host", "--yes", "-o", "/proc/x.zip"]
    assert "-o = '/proc/x.zip': " in refused(run(tmp_path, *nowhere))
