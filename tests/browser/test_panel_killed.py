"""A panel over real runs with real runners and small fake workers: an operator's day, and kill -9 of the panel itself.

It is killed in the middle of what it was asked to do: the next one shows what is true, in a page that stays open all
the time.
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
from pd_http import free_port
from pdpanel.panel.config import PanelConfig
from pdpanel.panel.ports import is_free
from pdpanel.panel.runs import Runs
from playwright.sync_api import Browser, Page, expect
from pretended_server import PretendedServer

from .conftest import PanelProcess
from .operator_walk import Walk

T = TypeVar("T")
WAIT_MS = 30_000

pytestmark = pytest.mark.timeout(300)


def wait_for(look: Callable[[], T | bool | None], what: str, seconds: float = 30.0) -> T:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
    return found  # type: ignore[return-value]


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PanelProcess]:
    """A panel that tests kill and start; what it leaves is ended at last."""
    folder = tmp_path_factory.mktemp("mortal")
    choices = ({"decode-0": 1.5}, {"prefill-0": "ignore-term"})
    panel = PanelProcess(
        folder, free_port(), script="real_panel_process.py", more=tuple(json.dumps(one) for one in choices)
    )
    panel.start()
    yield panel
    panel.kill()
    runs = runs_of(panel)
    for view in runs.list():
        runs.stop(view.id)


@pytest.fixture(autouse=True)
def panel_is_up(mortal: PanelProcess) -> None:
    """A test that failed while the panel was dead takes no other with it."""
    assert mortal.process is not None
    if mortal.process.poll() is not None:
        mortal.start()


@pytest.fixture(scope="module")
def page(chromium: Browser, mortal: PanelProcess) -> Iterator[Page]:
    """The page of that panel, opened once."""
    context = chromium.new_context(reduced_motion="reduce")
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.goto(mortal.login_url)
    expect(page.get_by_test_id("live-chip")).to_have_attribute("data-state", "live", timeout=WAIT_MS)
    yield page
    context.close()


def runs_of(panel: PanelProcess) -> Runs:
    return Runs(PanelConfig(panel.folder / "state", panel.folder / "cache", panel.folder / "config"))


def states(panel: PanelProcess) -> dict[str, dict[str, Any]]:
    """Returns what lies on disk of each run."""
    found = {}
    for path in (panel.folder / "state" / "runs").glob("*/state.json"):
        with suppress(OSError, ValueError):
            found[path.parent.name] = json.loads(path.read_bytes())
    return found


def ask_aside(panel: PanelProcess, path: str, body: object = None) -> threading.Thread:
    """Asks without waiting for the answer, which will never come."""

    def ask() -> None:
        with suppress(OSError, urllib.error.URLError, HTTPException):
            panel.ask("POST", path, body)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    return thread


FORM = {"mode": "pd", "model": "smollm2-135m-instruct", "prefill": 1, "decode": 1, "transport": "tcp"}


def begin(panel: PanelProcess) -> str:
    """Presses Deploy as it were, kills the panel as soon as the run has a runner, and returns the run's id."""
    before = states(panel).keys()
    asked = ask_aside(panel, "/api/runs", FORM)
    run_id = wait_for(lambda: next(iter(states(panel).keys() - before), None), "a run on disk")
    wait_for(lambda: states(panel).get(run_id, {}).get("runner_pid"), "its runner")
    panel.kill()
    asked.join(20)
    return run_id


def card(page: Page, run_id: str) -> Any:
    return page.locator(f'article[data-run="{run_id}"]')


def test_killed_during_a_start_a_benchmark_and_a_stop(page: Page, mortal: PanelProcess) -> None:
    run_id = begin(mortal)
    server = PretendedServer(gap_s=0.02)
    mortal.start()
    page.get_by_role("tab", name="Deploy").click()
    expect(card(page, run_id)).to_have_attribute("data-state", "ready", timeout=WAIT_MS)
    pids = [process["pid"] for process in mortal.run(run_id)["processes"]]
    assert all(psutil.pid_exists(pid) for pid in pids)

    body = {"url": server.url, "model": "pretended", "concurrency": 2, "output": "10", "requests": 100_000}
    long = mortal.ask("POST", "/api/loads", body)["load"]
    short = mortal.ask("POST", "/api/loads", body | {"requests": 12})["load"]
    wait_for(lambda: len(mortal.ask("GET", f"/api/loads/{long}")["rows"]) > 1, "samples of the load")
    asked = ask_aside(mortal, f"/api/runs/{run_id}/stop")
    wait_for(lambda: states(mortal)[run_id]["state"] in ("stopping", "stopped"), "the stop on disk")
    mortal.kill()
    asked.join(20)
    jobs = mortal.folder / "state" / "loads" / "jobs"
    wait_for(lambda: not (jobs / short).exists(), "the end of the short one without a panel")

    mortal.start()
    going = mortal.ask("GET", f"/api/loads/{long}")
    assert (going["state"], len(going["rows"]) > 1) == ("running", True)
    ended = mortal.ask("GET", f"/api/loads/{short}")
    assert (ended["state"], ended["columns"]["requests_successful"]) == ("finished", 12)
    os.kill(json.loads((jobs / long / "process.json").read_bytes())["pid"], signal.SIGKILL)
    server.close()
    lost = wait_for(lambda: (found := mortal.ask("GET", f"/api/loads/{long}"))["state"] == "died" and found, "its end")
    assert lost["rows"] and "ended without a result" in lost["notes"][0]
    expect(page.get_by_test_id("live-chip")).to_have_attribute("data-state", "live", timeout=WAIT_MS)
    page.evaluate("(id) => window.pdpanel.select(id)", run_id)
    expect(card(page, run_id)).to_have_attribute("data-state", "stopped", timeout=WAIT_MS)
    run = mortal.run(run_id)
    assert [process["state"] for process in run["processes"]] == ["stopped"] * 3
    assert all(is_free("127.0.0.1", process["port"]) for process in run["processes"])
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert not re.search(r"Traceback|Error", "".join(mortal.output))


def test_an_operator_meets_every_end_of_a_run(page: Page, mortal: PanelProcess) -> None:
    walk = Walk(page, mortal.folder / "state", WAIT_MS)
    page.get_by_role("tab", name="Deploy").click()
    walk.deploy()
    walk.crash_of_decode()
    walk.death_of_the_runner()
    walk.restart_run()
    walk.stop_all()
    walk.resume()
    walk.stop_all()
    walk.find_in_history()
    walk.clone()
    walk.export()


START_MOMENTS: dict[str, Callable[[PanelProcess, str], bool]] = {
    "its folder is there": lambda panel, run_id: True,
    "its plan is there": lambda panel, run_id: (folder_of(panel, run_id) / "plan.json").exists(),
    "its record is there": lambda panel, run_id: run_id in states(panel),
    "its runner is there": lambda panel, run_id: states(panel)[run_id].get("runner_pid") is not None,
    "its first process is there": lambda panel, run_id: states(panel)[run_id]["processes"][0].get("pid") is not None,
}
STOP_MOMENTS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "it was asked for": lambda record: bool(record.get("stop_asked")),
    "a process has ended": lambda record: any(one["state"] == "stopped" for one in record["processes"]),
    "all have ended": lambda record: record["state"] == "stopped",
}


def wait_for_state(panel: PanelProcess, run_id: str, *states: str) -> dict[str, Any]:
    """Returns a run as the panel tells it, once it is in one of `states`."""
    return wait_for(lambda: (run := panel.run(run_id))["state"] in states and run, f"{run_id} {states}")


def folder_of(panel: PanelProcess, run_id: str) -> Path:
    return panel.folder / "state" / "runs" / run_id


@pytest.mark.slow
@pytest.mark.parametrize("moment", START_MOMENTS)
def test_killed_at_any_moment_of_a_start(moment: str, mortal: PanelProcess) -> None:
    folder = mortal.folder / "state" / "runs"
    folder.mkdir(exist_ok=True)
    before = {path.name for path in folder.iterdir()}
    asked = ask_aside(mortal, "/api/runs", FORM)
    run_id = wait_for(lambda: next(iter({path.name for path in folder.iterdir()} - before), None), "its folder")
    wait_for(lambda: START_MOMENTS[moment](mortal, run_id), moment)
    mortal.kill()
    asked.join(20)
    mortal.start()
    listed = {run["id"] for run in mortal.ask("GET", "/api/runs")["runs"]}
    if run_id in listed:
        run = wait_for_state(mortal, run_id, "ready", "stopped")
        if run["state"] == "stopped":
            assert run["notice"] == "its start was broken off before it had a runner"
            assert all(is_free("127.0.0.1", process["port"]) for process in run["processes"])
        else:
            mortal.ask("POST", f"/api/runs/{run_id}/stop")
    else:
        assert moment in ("its folder is there", "its plan is there")
    again = mortal.ask("POST", "/api/runs", FORM)["run"]
    wait_for_state(mortal, again, "ready")
    mortal.ask("POST", f"/api/runs/{again}/stop")


@pytest.mark.slow
@pytest.mark.parametrize("moment", STOP_MOMENTS)
def test_killed_at_any_moment_of_a_stop(moment: str, mortal: PanelProcess) -> None:
    run_id = mortal.ask("POST", "/api/runs", FORM)["run"]
    wait_for_state(mortal, run_id, "ready")
    asked = ask_aside(mortal, f"/api/runs/{run_id}/stop")
    wait_for(lambda: STOP_MOMENTS[moment](states(mortal)[run_id]), moment)
    mortal.kill()
    asked.join(20)
    mortal.start()
    run = wait_for_state(mortal, run_id, "stopped")
    assert all(is_free("127.0.0.1", process["port"]) for process in run["processes"])
