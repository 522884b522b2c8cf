"""What a benchmark has started is stopped, at whatever moment Ctrl-C comes, and what is left of it is found."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest
from pdpanel.panel.bench import session
from pdpanel.panel.bench.session import running
from pdpanel.panel.deployment import Deployment, parse_deployment
from pdpanel.panel.runs import Runs


@dataclass
class View:
    id: str
    name: str
    router_url: str = "http://127.0.0.1:1"


@dataclass
class Interrupted:
    """Runs that a person interrupts while the new one starts, or right after."""

    while_it_starts: bool = False
    views: list[View] = field(default_factory=lambda: [View("mine-1", "mine"), View("other-1", "other")])
    stopped: list[str] = field(default_factory=list)

    def list(self) -> list[View]:
        return self.views

    def start(self, wanted: Deployment) -> View:
        self.views = [View("mine-2", wanted.name), View("other-2", "other"), *self.views]
        if self.while_it_starts:
            raise KeyboardInterrupt
        return self.views[0]

    def stop(self, run_id: str) -> None:
        self.stopped.append(run_id)


def interrupt(text: str) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("while_it_starts", [True, False])
def test_a_run_that_was_just_started_is_stopped_on_an_interrupt(while_it_starts: bool) -> None:
    """Ctrl-C between the start and the first look left the run behind."""
    runs = Interrupted(while_it_starts)
    wanted = parse_deployment({"name": "mine", "model": "m", "unified": {"count": 1}})
    with pytest.raises(KeyboardInterrupt), running(cast(Runs, runs), wanted, interrupt):
        pytest.fail("it never was ready")
    assert runs.stopped == ["mine-2"]


def answers(process: Process, **changes: object) -> dict[str, object]:
    """Returns what an idle process says of itself, with changes."""
    if process.role == "encoder":
        return {"images": {"waiting": 0, "kept": 3}, **changes}
    pool = {"total": 8, "free": 6, "cached": 2, "quarantined": 0}
    ranks = [{"rank": rank, "pid": 10 + rank, "alive": True, "bounce": 0} for rank in range(2)]
    idle = {"requests": 0, "rooms": 0, "sends": 0}
    info: dict[str, object] = {"pages": {"slot": {**pool, "free": 8, "cached": 0}, "staging": pool}, "ranks": ranks}
    return {**info, "open": idle, "encoders": [{"images": 0}, {"images": 0}], **changes}


@dataclass(frozen=True)
class Process:
    name: str
    role: str
    port: int = 1


PROCESSES = [Process("prefill-0", "prefill"), Process("encoder-0", "encoder"), Process("router", "router")]


@pytest.mark.parametrize(
    ("name", "changes", "pages", "work"),
    [
        ("prefill-0", {}, {}, {}),
        ("prefill-0", {"pages": {"slot": {"total": 8, "free": 5}}}, {"prefill-0 slot": 3}, {}),
        ("prefill-0", {"ranks": [{"rank": 1, "bounce": 4}]}, {"prefill-0 bounce of rank 1": 4}, {}),
        ("prefill-0", {"open": {"requests": 0, "rooms": 2, "sends": 1}}, {}, {"rooms": 2, "sends": 1}),
        ("prefill-0", {"encoders": [{"images": 2}]}, {}, {"images": 2}),
        ("encoder-0", {"images": {"waiting": 3}}, {}, {"images": 3}),
    ],
)
def test_what_is_left_at_the_end_of_a_run_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, changes: dict[str, object], pages: dict[str, int], work: dict[str, int]
) -> None:
    monkeypatch.setattr(session, "_info", lambda one: answers(one, **(changes if one.name == name else {})))
    monkeypatch.setattr(session.BenchRun, "view", lambda run: SimpleNamespace(processes=PROCESSES))
    run = session.BenchRun(cast(Runs, None), "run", "")
    assert run.pages_in_use() == pages
    assert run.open_work() == {f"{name} {kind}": count for kind, count in work.items()}


def test_a_process_that_says_nothing_is_not_taken_for_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(one: Process) -> dict[str, object]:
        raise ConnectionRefusedError

    monkeypatch.setattr(session, "_info", gone)
    monkeypatch.setattr(session.BenchRun, "view", lambda run: SimpleNamespace(processes=PROCESSES))
    run = session.BenchRun(cast(Runs, None), "run", "")
    assert list(run.pages_in_use().values()) == [1]
    assert list(run.open_work().values()) == [1, 1]


def test_processes_that_carry_the_run_are_found() -> None:
    with subprocess.Popen(["sleep", "60"], env={**os.environ, "PDPANEL_RUN_ID": "left-behind"}) as sleeper:
        deadline = time.monotonic() + 10
        while not (found := session.BenchRun(cast(Runs, None), "left-behind", "").processes_left()):
            assert time.monotonic() < deadline
        sleeper.kill()
    assert found == [sleeper.pid]
    assert session.BenchRun(cast(Runs, None), "left-behind", "").processes_left() == []
