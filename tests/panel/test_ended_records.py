"""The records of ended runs in memory: read once, and read again when their file is another one."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from pdpanel.panel import ended_records
from pdpanel.panel.ended_records import EndedRecords
from pdpanel.panel.runner.lifecycle import RunState
from pdpanel.panel.runner.state import encode_record
from pdpanel.panel.views import KnownViews

from tests.support.ended_runs import make_run, record_of


def test_an_ended_record_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rundir = make_run(tmp_path, "one", samples=0)
    records = EndedRecords()
    first = records.read(rundir)
    monkeypatch.setattr(ended_records, "read_record", lambda path: pytest.fail("it was read again"))
    assert first == record_of("one")
    assert records.read(rundir) is first


def test_a_file_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    rundir = make_run(tmp_path, "one", samples=0)
    records = EndedRecords()
    first = records.read(rundir)
    times = rundir.state.stat()
    assert first is not None
    # As long and as old as the one before: only the inode tells.
    rundir.write(rundir.state, encode_record(replace(first, model=first.model[::-1])))
    os.utime(rundir.state, ns=(times.st_atime_ns, times.st_mtime_ns))
    second = records.read(rundir)
    assert second is not None and second.model == first.model[::-1]
    rundir.write(rundir.state, encode_record(replace(first, state=RunState.READY)))
    third = records.read(rundir)
    assert third is not None and third.state is RunState.READY
    rundir.state.unlink()
    assert records.read(rundir) is None


def test_a_run_that_goes_on_is_read_each_time(tmp_path: Path) -> None:
    rundir = make_run(tmp_path, "one", samples=0, state=RunState.READY)
    records = EndedRecords()
    assert records.read(rundir) is not records.read(rundir)


def test_only_the_same_record_keeps_its_view(tmp_path: Path) -> None:
    views = KnownViews()
    record = record_of("one")
    view = views.of(record, tmp_path)
    assert views.of(record, tmp_path) is view
    changed = views.of(replace(record, notice="other"), tmp_path)
    assert changed.notice == "other"
