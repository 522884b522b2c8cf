from __future__ import annotations

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from pdpanel.panel.audit import Audit, Entry
from pdpanel.panel.cli import app as cli
from typer.testing import CliRunner

ENTRY = Entry(1700000000.5, "user:ann", "10.0.0.1", "runs/{run_id}/stop", "demo-1", "done")


def test_entries_come_back_in_order_and_are_for_the_owner(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "state")
    assert list(audit.entries()) == []
    assert audit.record(ENTRY)
    assert audit.record(Entry(1700000001, "token", "127.0.0.1", "runs", "", "refused with status 422"))
    assert next(audit.entries()) == ENTRY
    assert len(list(audit.entries())) == 2
    assert stat.S_IMODE(audit.path.stat().st_mode) == 0o600
    audit.path.chmod(0o644)
    audit.record(ENTRY)
    assert stat.S_IMODE(audit.path.stat().st_mode) == 0o600


def test_log_stays_small_and_keeps_the_newest(tmp_path: Path) -> None:
    audit = Audit(tmp_path, most_bytes=1000)
    for number in range(100):
        audit.record(Entry(number, "token", "", "runs", str(number), "done"))
    kept = [int(entry.subject) for entry in audit.entries()]
    assert kept == list(range(kept[0], 100))
    assert sum(path.stat().st_size for path in tmp_path.glob("audit.log*")) <= 4000
    assert len(list(tmp_path.glob("audit.log*"))) == 4


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: Audit(tmp_path).record(ENTRY), range(100)))
    assert all(done)
    assert list(Audit(tmp_path).entries()) == [ENTRY] * 100


def test_entry_is_one_line_without_secrets(tmp_path: Path) -> None:
    secret = "hf_" + "abcdefghij0123456789ABCD"
    audit = Audit(tmp_path)
    audit.record(Entry(1.0, "token", "", "up", f"--model x\n\x1b[31m HF_TOKEN={secret} \u2028" + "y" * 10_000, "done"))
    text = audit.path.read_text()
    assert secret not in text
    assert text.count("\n") == 1
    assert len(text) < 1000
    assert "\x1b" not in json.loads(text)["subject"]


def test_broken_lines_are_left_out(tmp_path: Path) -> None:
    audit = Audit(tmp_path)
    audit.record(ENTRY)
    with audit.path.open("ab") as file:
        file.write(b'{"at": 1\n[]\n\xff\n{"at": "x"}\n')
    audit.record(ENTRY)
    assert list(audit.entries()) == [ENTRY, ENTRY]


def test_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert not Audit(tmp_path / "file").record(ENTRY)
    os.symlink(tmp_path / "file", tmp_path / "audit.log")
    assert not Audit(tmp_path).record(ENTRY)
    assert (tmp_path / "file").read_text() == ""


def _run(tmp_path: Path, *arguments: str) -> Any:
    return CliRunner().invoke(cli, ["--state-dir", str(tmp_path), *arguments])


def test_command_line_notes_actions_and_no_questions(tmp_path: Path) -> None:
    _run(tmp_path, "status")
    _run(tmp_path, "up", "--dry-run")
    _run(tmp_path, "down", "--run", "nobody")
    _run(tmp_path, "down")
    found = [(entry.action, entry.subject, entry.outcome) for entry in Audit(tmp_path).entries()]
    assert [each[:2] for each in found] == [("down", "--run nobody"), ("down", "")]
    assert found[0][2] != "done"
    assert all(entry.who.startswith("cli:") for entry in Audit(tmp_path).entries())


def test_audit_command_shows_it(tmp_path: Path) -> None:
    assert "nothing was done yet" in _run(tmp_path, "audit").output
    Audit(tmp_path).record(ENTRY)
    assert "user:ann  10.0.0.1  runs/{run_id}/stop  demo-1  done" in _run(tmp_path, "audit").output
    assert json.loads(_run(tmp_path, "audit", "--json").output) == asdict(ENTRY)


def test_hash_password_reads_a_line_and_prints_what_auth_takes(tmp_path: Path) -> None:
    answer = CliRunner().invoke(cli, ["hash-password"], input="correct horse\n")
    assert answer.output.startswith("scrypt.")
    short = CliRunner().invoke(cli, ["hash-password"], input="abc\n")
    assert "abc" not in str(short.exception)
    assert "fewer than 8" in str(short.exception)


@pytest.mark.parametrize("arguments", [["--help"], ["up", "--help"], ["down", "-h"]])
def test_help_notes_nothing(tmp_path: Path, arguments: list[str]) -> None:
    _run(tmp_path, *arguments)
    assert not (tmp_path / "audit.log").exists()
