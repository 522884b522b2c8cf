from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from pdpanel.panel.runner.journal import Journal
from pdpanel.panel.runner.log_cap import LogCap
from pdpanel.panel.runner.storage_findings import samples_set_aside, samples_waiting
from pdpanel.panel.runner.upkeep import Upkeep

FILE = Path("/x/samples.sqlite")


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()]


def test_what_waits_is_told_until_it_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    upkeep = Upkeep(LogCap(tmp_path, 100), Journal())
    waiting = samples_waiting(FILE, "disk full")
    upkeep.on_samples(waiting)
    assert upkeep.findings == (waiting,)
    upkeep.on_samples(None)
    assert upkeep.findings == ()
    first, second = said(capsys)
    assert "cannot be written (disk full) and wait in memory" in first and second == "The samples are written again."


def test_what_was_lost_is_told_for_good_behind_what_goes_on(tmp_path: Path) -> None:
    upkeep = Upkeep(LogCap(tmp_path, 100), Journal())
    lost, waiting = samples_set_aside(FILE, Path(f"{FILE}.corrupt-1"), "malformed"), samples_waiting(FILE, "disk full")
    upkeep.on_samples(lost)
    upkeep.on_samples(waiting)
    upkeep.on_samples(lost)
    assert upkeep.findings == (waiting, lost)
    upkeep.on_samples(None)
    assert upkeep.findings == (lost,)


def test_logs_are_cut_and_the_record_is_saved_again_and_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "decode-0.log"
    log.write_bytes(b"a line\n" * 1000)
    saves: list[int] = []

    async def look_after() -> None:
        enough = asyncio.Event()

        def save() -> None:
            saves.append(log.stat().st_size)
            if len(saves) == 3:
                enough.set()

        upkeep = Upkeep(LogCap(tmp_path, 5000), Journal(), save, period_s=0.001)
        task = asyncio.create_task(upkeep.run())
        await asyncio.wait_for(enough.wait(), 20)
        task.cancel()
        assert [(finding.id, finding.subject) for finding in upkeep.findings] == [("log-cut", "decode-0.log")]

    asyncio.run(look_after())
    assert max(saves) < 5000
    assert said(capsys) == ["decode-0.log was longer than 5000 bytes and was cut."]
