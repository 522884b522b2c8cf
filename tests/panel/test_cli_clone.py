"""`pdpanel up --clone`: what an earlier run was, under a name of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.cli_clone import cloned, next_name, refuse_others
from pdpanel.panel.cli_deployment import Edits

from .conftest import FakeRuns


@pytest.mark.parametrize(
    ("name", "taken", "found"),
    [
        ("pd", set(), "pd-2"),
        ("pd", {"pd", "pd-2"}, "pd-3"),
        ("pd-2", {"pd-2"}, "pd-3"),
        ("a-b", {"a-b"}, "a-b-2"),
        ("x" * 40, set(), "x" * 38 + "-2"),
    ],
)
def test_a_name_that_no_run_has(name: str, taken: set[str], found: str) -> None:
    assert next_name(name, taken) == found


def test_a_clone_has_the_fields_of_its_run_and_ports_of_its_own(fake: FakeRuns) -> None:
    view = fake.wait(fake.start(transport="tcp", decode={"count": 1, "flags": {"x": 1}}).id, "ready")
    wanted = cloned(fake.runs, view.id, Edits(decode=2))
    assert (wanted.name, wanted.transport, wanted.decode.count, wanted.decode.flags) == ("fake-2", "tcp", 2, {"x": 1})
    ports = {process.port for process in view.processes}
    assert ports.isdisjoint(spec.ports["http"] for spec in fake.runs.preview(wanted).processes)
    assert cloned(fake.runs, "fake", Edits(name="mine")).name == "mine"
    with pytest.raises(ConfigError, match="not a run of this user"):
        cloned(fake.runs, "other", Edits())


def test_a_clone_comes_from_one_place() -> None:
    with pytest.raises(ConfigError, match="cannot go with"):
        refuse_others(Path("x.yaml"), None)
    refuse_others(None, None)
