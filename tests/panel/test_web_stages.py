from __future__ import annotations

from typing import Any

import pytest
from pdpanel.panel.web.port import ProcessView, RunView
from pdpanel.panel.web.stages import StageLog, stage_word


def run_of(*processes: ProcessView, created: float = 100.0) -> RunView:
    return RunView("r", "starting", "pd", "m", "tcp", "http://x", created, processes)


def process(state: str, stage: str = "", **fields: Any) -> ProcessView:
    return ProcessView("decode-0", "decode", state, stage, **fields)


class Watch:
    """A stage log and the clock that it reads."""

    def __init__(self) -> None:
        self.now = 100.0
        self.log = StageLog(lambda: self.now)

    def look(self, at: float, one: ProcessView) -> list[tuple[str, float]]:
        self.now = at
        (run,) = self.log.seen([run_of(one)])
        return [(stage.name, stage.began_s) for stage in run.processes[0].stages]


@pytest.mark.parametrize(
    ("stage", "word"),
    [
        ("loading weights 40 %", "loading weights"),
        ("loading weights 3 of 7", "loading weights"),
        ("loading weights (3/7)", "loading weights"),
        ("fetching 45 of 93 MB", "fetching"),
        ("starting: prefill http://127.0.0.1:30004 (Connection refused)", "starting"),
        ("starts again in 3 s", "starts again in 3 s"),
        ("", "starting"),
        ("another process answers on port 8002", "another process answers on port 8002"),
    ],
)
def test_a_stage_is_named_without_its_count(stage: str, word: str) -> None:
    assert stage_word(process("starting", stage)) == word


def test_each_stage_begins_when_it_was_first_seen() -> None:
    watch = Watch()
    assert watch.look(100.0, process("pending")) == [("waiting", 100.0)]
    assert watch.look(103.5, process("starting", "importing", pid=7, started_s=103.0))[1:] == [("importing", 103.0)]
    assert watch.look(104.0, process("starting", "importing", pid=7, started_s=103.0))[1:] == [("importing", 103.0)]
    watch.look(105.0, process("starting", "loading weights 10 %", pid=7, started_s=103.0))
    watch.look(106.0, process("starting", "loading weights 90 %", pid=7, started_s=103.0))
    assert watch.look(107.0, process("ready", pid=7, started_s=103.0)) == [
        ("waiting", 100.0),
        ("importing", 103.0),
        ("loading weights", 105.0),
        ("ready", 107.0),
    ]


def test_what_was_ready_before_anybody_looked_has_no_stages() -> None:
    assert Watch().look(200.0, process("ready", pid=7, started_s=103.0)) == []


def test_a_late_look_makes_one_part_of_what_it_missed() -> None:
    stages = Watch().look(130.0, process("starting", "warming up", pid=7, started_s=110.0))
    assert stages == [("waiting", 100.0), ("starting", 110.0), ("warming up", 130.0)]


def test_a_crash_keeps_how_far_it_came() -> None:
    watch = Watch()
    watch.look(101.0, process("starting", "importing", pid=7, started_s=100.5))
    assert watch.look(102.0, process("crashed", exit_code=1)) == [("importing", 100.5)]


def test_another_process_begins_anew() -> None:
    watch = Watch()
    watch.look(101.0, process("starting", "importing", pid=7, started_s=100.5))
    watch.look(102.0, process("ready", pid=7, started_s=100.5))
    again = watch.look(150.2, process("starting", "importing", pid=9, started_s=150.0, restarts=1))
    assert again == [("importing", 150.0)]


def test_a_process_of_many_stages_keeps_the_last_and_gone_runs_are_forgotten() -> None:
    watch = Watch()
    stages: list[tuple[str, float]] = []
    for step in range(40):
        stages = watch.look(101.0 + step, process("starting", f"step {'abc'[step % 3]}", pid=7, started_s=100.5))
    assert len(stages) == 12
    watch.log.seen([])
    assert watch.look(200.0, process("ready", pid=7, started_s=100.5)) == []
