"""A runner with real processes that die, or stop, without having been asked to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from pdpanel.panel.launch import Readiness
from pdpanel.panel.views import RunView

from .conftest import FakeRuns, wait_for


def pid_of(view: RunView, name: str) -> int:
    pid = next(process.pid for process in view.processes if process.name == name)
    assert pid is not None
    return pid


def test_what_was_ready_and_dies_is_started_again(fake: FakeRuns) -> None:
    view = fake.wait(fake.start().id, "ready")
    before = pid_of(view, "prefill-0")
    os.kill(before, signal.SIGKILL)
    view = fake.wait_process(view.id, "prefill-0", "restarting")
    dead = view.processes[1]
    assert (view.state, dead.pid, dead.stage) == ("degraded", None, "starts again in 1 s")
    view = fake.wait(view.id, "ready")
    again = view.processes[1]
    assert again.pid not in (None, before)
    assert (again.restarts, again.stage) == (1, "")
    assert again.reason == "ended by SIGKILL", "and nothing that its log said before"
    assert [process.restarts for process in view.processes] == [0, 1, 0]


def test_a_restart_that_waits_is_given_up_by_a_stop(fake: FakeRuns) -> None:
    view = fake.wait(fake.start().id, "ready")
    for name in ("prefill-0", "decode-0"):
        os.kill(pid_of(view, name), signal.SIGKILL)
        fake.wait_process(view.id, name, "restarting")
    fake.runs.stop_process(view.id, "decode-0")
    view = fake.wait_process(view.id, "prefill-0", "ready")
    assert view.processes[0].state == "stopped"
    os.kill(pid_of(view, "prefill-0"), signal.SIGKILL)
    fake.wait_process(view.id, "prefill-0", "restarting")
    assert fake.runs.stop(view.id).state == "stopped"


def test_nothing_is_started_again_where_the_deployment_says_never(fake: FakeRuns) -> None:
    view = fake.wait(fake.start(restart="never").id, "ready")
    os.kill(pid_of(view, "prefill-0"), signal.SIGKILL)
    view = fake.wait_process(view.id, "prefill-0", "crashed")
    assert view.processes[1].reason.startswith("ended by SIGKILL")
    assert view.state == "degraded"


@pytest.mark.slow
def test_a_process_that_stands_stopped_is_killed_and_started_again(fake: FakeRuns) -> None:
    view = fake.wait(fake.start().id, "ready")
    os.kill(pid_of(view, "decode-0"), signal.SIGSTOP)
    wait_for(lambda: "unless it goes on" in fake.runs.get(view.id).processes[0].stage, "what is about to happen")
    os.kill(pid_of(view, "decode-0"), signal.SIGCONT)
    wait_for(lambda: fake.runs.get(view.id).processes[0].stage == "", "it goes on")
    os.kill(pid_of(view, "decode-0"), signal.SIGSTOP)
    fake.wait_process(view.id, "decode-0", "restarting")
    again = fake.wait(view.id, "ready").processes[0]
    assert again.restarts == 1
    assert again.reason == "stopped by a signal (SIGSTOP), and killed for that"


def test_an_answer_of_somebody_else_on_its_port_makes_nothing_ready(fake: FakeRuns) -> None:
    """The port was taken after the plan was made; who has it says 200 to everything."""
    code = """
import http.server, sys
class Yes(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *args): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Yes)
print(server.server_port, flush=True)
server.serve_forever()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            url = f"http://127.0.0.1:{int(other.stdout.readline())}/health"
            fake.change = lambda spec: replace(spec, ready=Readiness(url, 3.0)) if spec.name == "decode-0" else spec
            view = fake.start()
            wait_for(lambda: f"another process, {other.pid}," in fake.runs.get(view.id).processes[0].stage, "the stage")
            reason = fake.wait_process(view.id, "decode-0", "crashed").processes[0].reason
            assert reason.startswith("Not ready within 3 s (last seen: another process, ")
        finally:
            other.kill()
