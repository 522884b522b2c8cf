from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ended_runs import CREATED_S, make_run, record_of
from pdpanel.engine.errors import ConfigError, ConflictError, NotFoundError
from pdpanel.engine.model.converted import FORMAT
from pdpanel.panel.config import PanelConfig
from pdpanel.panel.history.prune_plan import PruneKind, PruneWish
from pdpanel.panel.history.run_history import RunHistory
from pdpanel.panel.history.summary import Peaks
from pdpanel.panel.runner.lifecycle import RunState

EVERYTHING = PruneWish(days=0)
DEAD_PID = 2**22 + 1


@pytest.fixture
def config(tmp_path: Path) -> PanelConfig:
    return PanelConfig(tmp_path / "state", tmp_path / "cache", tmp_path / "config")


@pytest.fixture
def history(config: PanelConfig) -> RunHistory:
    return RunHistory(config)


def names(plan: object) -> list[tuple[str, str]]:
    return [(str(item.kind), item.name) for item in plan.items]  # type: ignore[attr-defined]


def test_ended_runs_are_listed_with_what_they_reached(config: PanelConfig, history: RunHistory) -> None:
    make_run(config.state_dir, "pd-1")
    make_run(config.state_dir, "pd-2", ended_at=CREATED_S + 500, state=RunState.FAILED, notice="no luck", samples=0)
    second, first = history.list()
    assert (first.id, first.duration_s, first.crashes) == ("pd-1", 120.0, 2)
    assert first.peaks == Peaks(239.0, 239.0, 239.0, 478.0)
    assert first.bytes_on_disk > 24_000
    assert (second.id, second.state, second.notice, second.peaks) == ("pd-2", "failed", "no luck", Peaks())


def test_the_numbers_of_an_ended_run_are_kept_for_the_next_time(config: PanelConfig, history: RunHistory) -> None:
    rundir = make_run(config.state_dir, "pd-1")
    first = history.list()
    rundir.samples.unlink()
    again = history.list()
    assert again[0].peaks == first[0].peaks
    rundir.summary.write_bytes(b"{")
    assert history.list()[0].peaks == Peaks(), "what cannot be read is made anew"


def test_a_run_that_has_ended_anew_is_summed_up_anew(config: PanelConfig, history: RunHistory) -> None:
    rundir = make_run(config.state_dir, "pd-1", samples=0)
    assert history.list()[0].duration_s == 120.0
    from pdpanel.panel.runner.state import encode_record

    rundir.write(rundir.state, encode_record(record_of("pd-1", resumed_at=CREATED_S + 900, ended_at=CREATED_S + 990)))
    assert history.list()[0].duration_s == 90.0


def test_a_run_whose_runner_died_long_ago_has_ended_too(config: PanelConfig, history: RunHistory) -> None:
    make_run(config.state_dir, "pd-1", state=RunState.READY, ended_at=None, boot_id="another boot")
    (run,) = history.list()
    assert (run.state, run.notice) == ("stopped", "ended by a restart of this host")
    assert run.duration_s is not None


def test_runs_are_removed_whole(config: PanelConfig, history: RunHistory) -> None:
    make_run(config.state_dir, "pd-1")
    make_run(config.state_dir, "pd-2")
    assert history.remove(["pd-1", "pd-1"]) > 24_000
    assert [run.id for run in history.list()] == ["pd-2"]
    assert [path.name for path in (config.state_dir / "removed").iterdir()] == []


def test_an_unknown_run_stops_the_removal_of_all(config: PanelConfig, history: RunHistory) -> None:
    make_run(config.state_dir, "pd-1")
    for name in ("pd-9", "..", "../runs/pd-1", ""):
        with pytest.raises(NotFoundError):
            history.remove(["pd-1", name])
    assert len(history.list()) == 1


def test_a_run_with_a_runner_is_never_touched(config: PanelConfig, history: RunHistory) -> None:
    rundir = make_run(config.state_dir, "pd-1", state=RunState.FAILED)
    lock = rundir.try_lock()
    assert lock is not None
    try:
        assert history.list() == []
        with pytest.raises(ConflictError, match="has a runner; stop the run first"):
            history.remove(["pd-1"])
        assert history.plan(EVERYTHING).items == ()
        with pytest.raises(ConflictError, match="has not ended"):
            history.plan(PruneWish(runs=("pd-1",)))
    finally:
        os.close(lock)


def test_a_run_of_which_a_process_lives_is_never_touched(config: PanelConfig, history: RunHistory) -> None:
    """Its record says that all is over, but something still carries the run's id."""
    rundir = make_run(config.state_dir, "pd-1")
    code = "print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PDPANEL_RUN_ID": "pd-1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(ConflictError, match="has processes that live"):
            history.remove(["pd-1"])
        assert history.prune(history.plan(EVERYTHING)).items == ()
        process.communicate(b"\n")
    assert rundir.state.exists()
    assert names(history.prune(history.plan(EVERYTHING))) == [("run", "pd-1")]


def test_what_a_run_links_to_stays(config: PanelConfig, history: RunHistory, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    rundir = make_run(config.state_dir, "pd-1")
    (rundir.path / "link").symlink_to(precious)
    (rundir.logs / "x.log").symlink_to(precious / "file")
    history.remove(["pd-1"])
    moved = tmp_path / "elsewhere"
    make_run(config.state_dir, "pd-2").path.rename(moved)
    (config.runs_dir / "pd-2").symlink_to(moved)
    with pytest.raises(ConflictError, match="is a link to another place"):
        history.remove(["pd-2"])
    assert (precious / "file").read_text() == "x"
    assert (moved / "state.json").exists()


def test_of_a_run_logs_or_samples_alone_can_go(config: PanelConfig, history: RunHistory) -> None:
    rundir = make_run(config.state_dir, "pd-1")
    (rundir.path / "samples.sqlite.corrupt-1").write_bytes(b"x")
    before = history.list()[0]
    plan = history.plan(PruneWish(days=0, logs=True))
    assert names(plan) == [("logs", "pd-1")]
    history.prune(plan)
    assert list(rundir.logs.iterdir()) == [] and rundir.samples.exists() and rundir.runner_log.exists()
    plan = history.plan(PruneWish(days=0, logs=True, samples=True))
    assert names(plan) == [("samples", "pd-1")], "there are no logs any more"
    history.prune(plan)
    assert list(rundir.path.glob("samples*")) == []
    after = history.list()[0]
    assert after.peaks == before.peaks and after.bytes_on_disk < before.bytes_on_disk


def test_a_run_whose_record_is_damaged_goes_after_a_day(config: PanelConfig, history: RunHistory) -> None:
    old, young = make_run(config.state_dir, "pd-1"), make_run(config.state_dir, "pd-2")
    for rundir in (old, young):
        rundir.state.write_bytes(b"{")
    os.utime(old.state, (CREATED_S, CREATED_S))
    assert history.list() == []
    assert names(history.prune(history.plan(PruneWish(days=36500)))) == [("run", "pd-1")]
    assert young.state.exists()


def test_a_plan_alone_changes_nothing(config: PanelConfig, history: RunHistory) -> None:
    make_run(config.state_dir, "pd-1")
    history.list()

    def look() -> list[str]:
        return sorted(str(path) for path in config.state_dir.rglob("*"))

    before = look()
    plan = history.plan(EVERYTHING)
    assert plan.size_bytes > 24_000 and look() == before


def test_leftovers_of_writers_that_died_go_and_nothing_else(config: PanelConfig, history: RunHistory) -> None:
    rundir = make_run(config.state_dir, "pd-1")
    long_ago = CREATED_S
    half = config.runs_dir / "pd-half"
    (half / "logs").mkdir(parents=True)
    foreign = config.runs_dir / "pd-foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("x")
    gone = config.state_dir / "removed" / "pd-0"
    gone.mkdir(parents=True)
    partial = config.cache_dir / "models" / f"SmolLM2-135M-Instruct.tmp-{DEAD_PID}"
    partial.mkdir(parents=True)
    scratch = rundir.path / f".state.json.{DEAD_PID}"
    mine = rundir.path / f".state.json.{os.getpid()}"
    other = config.cache_dir / "models" / "notes.txt"
    for path in (scratch, mine, other):
        path.write_bytes(b"x")
    young = rundir.path / f".plan.json.{DEAD_PID}"
    young.write_bytes(b"x")
    for path in (half, foreign, partial, scratch, mine, other):
        os.utime(path, (long_ago, long_ago))
    plan = history.plan(PruneWish(days=36500))
    assert sorted(Path(path) for item in plan.items for path in item.paths) == sorted([half, gone, partial, scratch])
    history.prune(plan)
    assert not any(path.exists() for path in (half, gone, partial, scratch))
    assert all(path.exists() for path in (foreign / "thesis.txt", mine, other, young, rundir.state))


def converted(config: PanelConfig, sha: str, source: str, version: int = FORMAT) -> Path:
    folder = config.cache_dir / "converted"
    (folder / "index").mkdir(parents=True, exist_ok=True)
    made = folder / f"{sha * 64}-{version}"
    made.mkdir()
    (made / "weights.safetensors").write_bytes(b"x" * 10_000)
    (folder / "index" / f"{sha}{version}.json").write_text(json.dumps({"path": source, "sha256": sha * 64}))
    return made


def test_models_that_no_run_has_used_go_when_asked(config: PanelConfig, history: RunHistory) -> None:
    make_run(config.state_dir, "pd-1", model="/models/mine.gguf", samples=0)
    make_run(config.state_dir, "pd-2", model="someone/their-model", samples=0, state=RunState.READY, ended_at=None)
    download = config.cache_dir / "models" / "SmolLM2-135M-Instruct"
    download.mkdir(parents=True)
    kept = [
        converted(config, "a", "/models/mine.gguf"),
        converted(config, "b", "/hub/models--someone--their-model/snapshots/1"),
    ]
    gone = [
        converted(config, "c", "/models/other.gguf"),
        converted(config, "d", str(download / "model.gguf")),
        converted(config, "e", "/models/mine.gguf", FORMAT - 1),
    ]
    foreign = config.cache_dir / "converted" / "readme"
    foreign.mkdir()
    assert names(history.plan(PruneWish(days=36500))) == []
    plan = history.plan(PruneWish(days=36500, models=True))
    assert {path for item in plan.items for path in item.paths} == {str(path) for path in (*gone, download)}
    assert {item.kind for item in plan.items} == {PruneKind.MODEL}
    history.prune(plan)
    assert all(path.exists() for path in (*kept, foreign))
    assert not any(path.exists() for path in (*gone, download))


def test_a_model_of_the_catalogue_stays_while_a_run_uses_it(config: PanelConfig, history: RunHistory) -> None:
    make_run(config.state_dir, "pd-1", samples=0)
    download = config.cache_dir / "models" / "SmolLM2-135M-Instruct"
    download.mkdir(parents=True)
    conversion = converted(config, "d", str(download / "model.gguf"))
    assert history.plan(PruneWish(days=36500, models=True)).items == ()
    everything = history.plan(PruneWish(days=0, models=True))
    assert names(everything)[1:] == [("model", "SmolLM2-135M-Instruct"), ("model", "model.gguf, converted")]
    history.prune(everything)
    assert not conversion.exists()


def test_a_state_directory_of_a_newer_version_is_left_alone(config: PanelConfig, history: RunHistory) -> None:
    make_run(config.state_dir, "pd-1", samples=0)
    plan = history.plan(EVERYTHING)
    (config.state_dir / "version").write_text("99")
    with pytest.raises(ConfigError, match="newer pdpanel"):
        history.list()
    with pytest.raises(ConfigError, match="newer pdpanel"):
        history.prune(plan)
    assert (config.runs_dir / "pd-1").exists()
