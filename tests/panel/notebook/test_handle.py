"""The handle over pretended runs: which one is meant, what is written down, and what it says at its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pdpanel.engine.errors import ConfigError, PdpanelError
from pdpanel.panel.audit import Audit
from pdpanel.panel.config import read_config
from pdpanel.panel.launch import Role
from pdpanel.panel.notebook.handle import NotebookPanel
from pdpanel.panel.notebook.run import NotebookRun
from pdpanel.panel.runner.lifecycle import ProcessState, RunState
from pdpanel.panel.views import ProcessView, RunView

PROCESS = ProcessView(
    "decode-0", Role.DECODE, None, 1, ProcessState.CRASHED, "", None, None, None, 0, "killed by signal 9", "/x"
)


def run(run_id: str, state: RunState = RunState.READY, name: str = "pd") -> RunView:
    return RunView(run_id, name, state, 0.0, "http://127.0.0.1:1", "m", "tcp", "", (PROCESS,), True)


class PretendedRuns:
    """As much of Runs as the handle asks."""

    def __init__(self, *views: RunView) -> None:
        self.views = list(views)

    def list(self) -> list[RunView]:
        return self.views

    def get(self, run_id: str) -> RunView:
        return next(view for view in self.views if view.id == run_id)

    def stop(self, run_id: str) -> RunView:
        self.views = [replace(view, state=RunState.STOPPED) if view.id == run_id else view for view in self.views]
        return self.get(run_id)


class PretendedPanel:
    is_open = False

    def __init__(self, *, last: bool) -> None:
        self._last = last

    def close(self) -> bool:
        return self._last


@pytest.fixture
def panel_of(tmp_path: Path) -> Callable[..., Any]:
    def make(*views: RunView, last: bool = True) -> Any:
        panel: Any = NotebookPanel(read_config(state_dir=tmp_path), PretendedPanel(last=last))  # pyright: ignore[reportArgumentType]
        panel._runs = PretendedRuns(*views)
        return panel

    return make


def test_the_only_run_needs_no_name(panel_of: Callable[..., Any], tmp_path: Path) -> None:
    panel = panel_of(run("a"), run("b", RunState.STOPPED))
    assert panel.stop().state == "stopped"
    (entry,) = Audit(tmp_path).entries()
    assert (entry.address, entry.action, entry.subject, entry.outcome) == ("notebook", "stop", "a", "done")


@pytest.mark.parametrize("wanted", ["a", "first", "handle"])
def test_a_run_by_id_name_or_itself(panel_of: Callable[..., Any], wanted: str) -> None:
    panel = panel_of(run("a", name="first"), run("b", name="second"), run("c", RunState.STOPPED, name="first"))
    assert panel.stop(NotebookRun(panel._runs, "a") if wanted == "handle" else wanted).id == "a"
    assert panel._runs.get("b").state is RunState.READY


@pytest.mark.parametrize(
    ("views", "wanted", "said"),
    [
        ((), None, "no run goes on"),
        ((run("a"), run("b")), None, "2 runs go on; name one of a, b"),
        ((run("a"),), "x", "is not a run that goes on"),
        ((run("a", RunState.STOPPED),), "pd", "is not a run that goes on"),
    ],
)
def test_what_is_unclear_is_one_sentence(
    panel_of: Callable[..., Any], views: tuple[RunView, ...], wanted: str | None, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        panel_of(*views).stop(wanted)


def test_a_failed_run_says_why(panel_of: Callable[..., Any]) -> None:
    panel = panel_of(run("a", RunState.FAILED))
    with pytest.raises(PdpanelError, match=r"^a is failed: decode-0 crashed: killed by signal 9\.$"):
        NotebookRun(panel._runs, "a").wait()


@pytest.mark.parametrize("last", [True, False])
def test_close_says_what_goes_on(panel_of: Callable[..., Any], capsys: Any, last: bool) -> None:
    panel_of(run("a"), run("b"), last=last).close()
    said = capsys.readouterr().out
    assert ("The panel has ended." in said) is last
    assert "2 runs go on: a, b" in said


def test_a_file_with_commands_needs_consent(panel_of: Callable[..., Any], tmp_path: Path, monkeypatch: Any) -> None:
    from pdpanel.panel.notebook import handle

    file = tmp_path / "theirs.yaml"
    file.write_text("model: SmolLM2-135M-Instruct\nunified: {count: 1}\n")
    panel: Any = NotebookPanel(read_config(state_dir=tmp_path / "state"), PretendedPanel(last=True))  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr(handle, "needs_consent", lambda wanted: True)
    with pytest.raises(ConfigError, match=r"brings commands of its own; add yes=True"):
        panel.deploy(file)
    assert panel.status().views == ()
