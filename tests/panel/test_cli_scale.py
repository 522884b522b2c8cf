"""`pdpanel scale`: the difference, a question, and what happened."""

from __future__ import annotations

import json

from pdpanel.panel.cli import app
from typer.testing import CliRunner, Result

from .conftest import FakeRuns


def ask(fake: FakeRuns, monkeypatch: object, *words: str) -> Result:
    monkeypatch.setattr("pdpanel.panel.runs.Runs", lambda config: fake.runs)  # type: ignore[attr-defined]
    folders = ["--state-dir", str(fake.config.state_dir)]
    return CliRunner().invoke(app, [*folders, "scale", *words])


def test_the_difference_is_shown_asked_about_and_done(fake: FakeRuns, monkeypatch: object) -> None:
    fake.behaviour["decode-1"] = "quiet"
    view = fake.wait(fake.start().id, "ready")
    dry = ask(fake, monkeypatch, "--decode", "2", "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert f"{view.id}: prefill 1 -> 1, decode 1 -> 2" in dry.output
    assert "+ decode-1 is started: port" in dry.output and "prefill-0, router stay as they are" in dry.output
    plain = json.loads(ask(fake, monkeypatch, "--decode", "2", "--dry-run", "--json").output)
    assert (plain["added"], plain["after"]) == (["decode-1"], {"prefill": 1, "decode": 2})
    assert len(fake.runs.get(view.id).processes) == 3, "nothing has happened yet"
    silent = ask(fake, monkeypatch, "--decode", "2")
    assert "add --yes" in str(silent.exception)
    done = ask(fake, monkeypatch, "--run", view.id, "--decode", "2", "--yes")
    assert done.exit_code == 0, done.output
    assert done.output.rstrip().endswith(f"{view.id} ready: 1 prefill, 2 decode")
    same = ask(fake, monkeypatch, "--decode", "2")
    assert "nothing changes" in same.output


def test_what_makes_no_sense_is_one_sentence(fake: FakeRuns, monkeypatch: object) -> None:
    assert "say how many" in str(ask(fake, monkeypatch).exception)
    assert "add --dry-run" in str(ask(fake, monkeypatch, "--decode", "2", "--json").exception)
    assert "no run is active" in str(ask(fake, monkeypatch, "--decode", "2").exception)
