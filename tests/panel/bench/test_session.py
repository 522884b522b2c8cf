"""What a benchmark has started is stopped, at whatever moment Ctrl-C comes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest
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
