"""The commands of the suites that compare: lines, files, ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.bench import suite
from pdpanel.panel.bench.comparison import Comparison, Goal
from pdpanel.panel.bench.suite import SUITES, SuiteOptions
from pdpanel.panel.cli import app
from typer.testing import CliRunner, Result

Suite = Callable[..., Iterator[Comparison]]


def figures(*_: object) -> Iterator[Comparison]:
    yield Comparison("batch=1", "decode", "tokens/s", [8, 8.5], "peer", [2, 2], Goal(at_least=4))
    yield Comparison("batch=8", "decode", "tokens/s", [3], "peer", [2], Goal(at_least=4))


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    def call(*words: str, measure: Suite = figures) -> Result:
        monkeypatch.setattr(suite, "measure", measure)
        return CliRunner().invoke(app, ["--state-dir", str(tmp_path / "state"), "bench", *words])

    return call


def test_lines_of_json_are_printed_and_written(call: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "found.jsonl"
    done = call("engine", "--json", "-o", str(path))
    assert done.exit_code == 0, "a goal that is missed is a result"
    machine, first, second, summary = map(json.loads, done.stdout.splitlines())
    assert machine["suite"] == "engine"
    assert machine["machine"]["cores"] >= 1
    assert (first["case"], first["ratio"], first["met"]) == ("batch=1", 4.125, True)
    assert (second["case"], second["met"]) == ("batch=8", False)
    assert summary == {"suite": "engine", "figures": 2, "goals_met": 1, "goals_missed": 1}
    assert path.read_text() == done.stdout
    assert not path.with_name("found.jsonl.partial").exists()


def test_people_get_text(call: Callable[..., Result]) -> None:
    done = call("pd")
    machine, first, second, summary = done.stdout.splitlines()
    assert "cores" in machine and "Python" in machine
    assert "x4.12" in first and "met" in first
    assert "MISSED" in second
    assert summary == "2 figures; 1 of 2 goals met; missed: batch=8 decode"


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_has_its_command_and_says_what_the_exit_code_means(call: Callable[..., Result], name: str) -> None:
    done = call(name, "--help")
    assert done.exit_code == 0
    assert "missed is a result, not an error" in " ".join(done.stdout.split())


def test_options_reach_the_suite(call: Callable[..., Result]) -> None:
    asked: list[Any] = []

    def measure(name: str, options: SuiteOptions, *_: object) -> Iterator[Comparison]:
        asked.append((name, options))
        yield from ()

    words = ("--short", "--seed", "7", "--case", "a", "--case", "b=1", "--model", "some/model")
    assert call("scale", *words, measure=measure).exit_code == 0
    assert call("scale", "--rounds", "5", measure=measure).exit_code == 0
    (_, short), (name, full) = asked
    assert short == SuiteOptions(short=True, rounds=1, seed=7, only=("a", "b=1"), model="some/model")
    assert (name, full) == ("scale", SuiteOptions(rounds=5))


def test_an_interrupt_ends_what_was_started_and_keeps_what_was_found(
    call: Callable[..., Result], tmp_path: Path
) -> None:
    ended: list[bool] = []

    def measure(*_: object) -> Iterator[Comparison]:
        try:
            yield from figures()
            raise KeyboardInterrupt
        finally:
            ended.append(True)

    path = tmp_path / "found.jsonl"
    path.write_text("an earlier run\n")
    assert call("start", "--json", "-o", str(path), measure=measure).exit_code != 0
    assert ended == [True]
    assert path.read_text() == "an earlier run\n"
    assert len(path.with_name("found.jsonl.partial").read_text().splitlines()) == 3


def test_a_file_that_cannot_be_written_is_said_before_anything_is_measured(
    call: Callable[..., Result], tmp_path: Path
) -> None:
    def measure(*_: object) -> Iterator[Comparison]:
        raise AssertionError("measured")

    done = call("router", "-o", str(tmp_path / "nowhere" / "found.jsonl"), measure=measure)
    assert "--output" in str(done.exception) and "cannot be written" in str(done.exception)


@pytest.mark.parametrize("ranks", ["2", "2-", "0-1", "2-1-1", "2-99", "a-b"])
def test_ranks_of_a_fault_run_that_are_none_are_refused(call: Callable[..., Result], ranks: str) -> None:
    done = call("faults", "--ranks", ranks)
    assert done.exit_code != 0 and isinstance(done.exception, ConfigError | SystemExit)
    assert not isinstance(done.exception, ConfigError) or "such as 2-1" in str(done.exception)
