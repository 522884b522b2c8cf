"""Results in the logs of an attached run are found, counted and taken over; other logs are left alone."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pdpanel.engine.errors import NotFoundError
from pdpanel.panel.attach.discover import Discovered
from pdpanel.panel.attach.found_results import FoundLog, FoundResults
from pdpanel.panel.attach.log_files import find_logs
from pdpanel.panel.attach.plan import AttachedPlan, attached_plan
from simulated_attach import SERVING

SWEEP = "pd_sglang_xP1_yD2_DeepSeek-V3_CONCURRENCY.log"


@pytest.fixture
def made(tmp_path: Path) -> AttachedPlan:
    (tmp_path / SWEEP).write_text("warm\n" + "".join(SERVING.format(number=number) for number in (1, 2, 3)))
    (tmp_path / "prefill_NODE0.log").write_text(SERVING.format(number=9))
    (tmp_path / "slurm-7.out").write_text("nothing was measured here\n")
    return attached_plan("a", Discovered(None, ()), find_logs(str(tmp_path), ()))


def results_of(made: AttachedPlan, **changes: Any) -> FoundResults:
    folder = Path(next(iter(made.links.values()))).parent / "run"
    folder.mkdir(exist_ok=True)
    for name, path in made.links.items():
        if not (folder / name).is_symlink():
            os.symlink(path, folder / name)
    return FoundResults(lambda run_id: replace(made.plan, **changes), lambda run_id, name: folder / name)


def test_a_sweep_is_offered_and_taken_over(made: AttachedPlan) -> None:
    found = results_of(made)
    (sweep,) = found.list("r")
    assert sweep == FoundLog("r", sweep.log, SWEEP, 3)
    entries = found.entries("r", sweep.log)
    assert [entry["columns"]["requests_per_s"] for entry in entries] == [1.5, 2.5, 3.5]
    assert {(entry["mode"], entry["model"]) for entry in entries} == {("1P2D", "DeepSeek-V3")}
    assert entries[0]["source"].startswith(f"{SWEEP}, line ")
    for other in ("prefill-0", "slurm-7", "../x"):
        with pytest.raises(NotFoundError):
            found.entries("r", other)
    # A run that was started here has no logs of somebody else's.
    assert results_of(made, attached=False).list("r") == []


def test_a_log_that_grew_is_read_again_and_one_that_is_gone_is_not_offered(made: AttachedPlan, tmp_path: Path) -> None:
    found = results_of(made)
    found.list("r")
    with (tmp_path / SWEEP).open("a") as file:
        file.write(SERVING.format(number=4))
    assert [one.results for one in found.list("r")] == [4]
    (tmp_path / SWEEP).unlink()
    assert found.list("r") == []
