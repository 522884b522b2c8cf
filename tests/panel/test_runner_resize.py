"""A run of fake workers gets more and fewer of them; what fails, and what a killed runner leaves, is told as it is."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from pdpanel.engine.errors import ConfigError, ConflictError, NotFoundError, PeerError
from pdpanel.panel.deployment import parse_deployment_text
from pdpanel.panel.launch import Role
from pdpanel.panel.rundir import RunDir
from pdpanel.panel.runner import protocol
from pdpanel.panel.runner.client import ask
from pdpanel.panel.runner.state import read_record, reconciled
from pdpanel.panel.scaling.proposal import propose
from pdpanel.panel.views import RunView
from pdpanel.panel.web.source import RunsSource

from .conftest import FakeRuns, wait_for
from .test_runner import rundir_of
from .test_runner_adoption import kill_runner


def scale(fake: FakeRuns, view: RunView, **counts: int) -> RunView:
    wanted = {Role(role): count for role, count in counts.items()}
    return fake.runs.scaling.apply(view.id, wanted, fake.runs.scaling.preview(view.id, wanted).id)


def pids(view: RunView) -> dict[str, int | None]:
    return {process.name: process.pid for process in view.processes}


def test_workers_come_and_go_and_the_others_never_notice(fake: FakeRuns) -> None:
    fake.behaviour["decode-1"] = "quiet"
    view = fake.wait(fake.start().id, "ready")
    before = pids(view)
    plan, text = fake.runs.plan(view.id), fake.runs.deployment_text(view.id)
    shown = fake.runs.scaling.preview(view.id, {Role.DECODE: 2})
    said: list[str] = []
    more = fake.runs.scaling.apply(view.id, {Role.DECODE: 2}, shown.id, said.append)
    assert (more.state, more.notice) == ("ready", "")
    assert {name: pid for name, pid in pids(more).items() if name in before} == before
    assert pids(more).keys() - before.keys() == {"decode-1"}
    assert any("decode-1" in line for line in said)
    assert parse_deployment_text(fake.runs.deployment_text(view.id)).decode.count == 2
    key = "proc/decode-1/generated_tokens_per_s"
    wait_for(lambda: key in fake.runs.samples(view.id).rows[-1].values, "samples of the new worker")
    series = fake.runs.samples(view.id).series
    assert {"proc/decode-1/running", "link/prefill-0>decode-1/kv_bytes_per_s"} <= series.keys()
    with pytest.raises(ConflictError, match="since the difference was shown"):
        fake.runs.scaling.apply(view.id, {Role.DECODE: 2}, shown.id)
    fewer = scale(fake, view, decode=1)
    assert (pids(fewer), fewer.state) == (before, "ready")
    assert (fake.runs.plan(view.id), fake.runs.deployment_text(view.id)) == (plan, text)


def test_the_log_of_a_removed_worker_stays_and_goes_on_when_it_comes_back(fake: FakeRuns) -> None:
    fake.behaviour["decode-1"] = "quiet"
    view = fake.wait(fake.start(decode={"count": 2}).id, "ready")
    with pytest.raises(NotFoundError, match=r"name one of .*decode-1"):
        fake.runs.log_path(view.id, "decode-2")
    assert scale(fake, view, decode=1).removed == ("decode-1",)
    path = fake.runs.log_path(view.id, "decode-1")
    assert path.read_text().count("decode-1 listens on") == 1
    (shown,) = RunsSource(fake.runs).runs()
    assert (shown.removed, "decode-1" in {process.name for process in shown.processes}) == (("decode-1",), False)
    kill_runner(fake, view)
    fake.runs.adopt(view.id)
    assert fake.wait(view.id, "ready").removed == ("decode-1",)
    fake.runs.stop(view.id)
    assert fake.wait(fake.runs.resume(view.id).id, "ready").removed == ("decode-1",)
    assert scale(fake, view, decode=2).removed == ()
    assert path.read_text().count("decode-1 listens on") == 2


def test_one_that_crashes_is_shown_and_can_be_tried_again_or_taken_back(fake: FakeRuns) -> None:
    fake.behaviour["decode-1"] = "crash"
    view = fake.wait(fake.start().id, "ready")
    with pytest.raises(ConflictError, match="did not become ready"):
        scale(fake, view, decode=2)
    after = fake.wait(view.id, "degraded")
    assert "decode-1" in after.notice
    assert {process.name: process.state for process in after.processes}["decode-1"] == "crashed"
    record = read_record(rundir_of(fake, view).state)
    assert record is not None and [each.name for each in record.processes if each.unlisted] == ["decode-1"]
    fake.runs.restart_process(view.id, "decode-1")
    fake.wait_process(view.id, "decode-1", "crashed")
    fewer = scale(fake, view, decode=1)
    assert (fewer.state, fewer.notice, len(fewer.processes)) == ("ready", "", len(view.processes))


def test_a_runner_that_is_killed_while_a_worker_comes_leaves_the_rest_to_the_next_one(fake: FakeRuns) -> None:
    fake.delay_s["decode-1"] = 1.5
    view = fake.wait(fake.start().id, "ready")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(scale, fake, view, decode=2)
        fake.wait_process(view.id, "decode-1", "starting")
        kill_runner(fake, view)
        with pytest.raises(PeerError):
            asked.result(20)
    fake.runs.adopt(view.id)
    wait_for(lambda: not pending(fake, view), "the new runner goes on with the change")
    after = fake.wait(view.id, "ready")
    assert {name: pid for name, pid in pids(after).items() if name != "decode-1"} == pids(view)
    assert len(after.processes) == 4


def pending(fake: FakeRuns, view: RunView) -> bool:
    record = read_record(rundir_of(fake, view).state)
    assert record is not None
    return bool(fake.runs.plan(view.id).leaving) or any(each.unlisted or each.leaving for each in record.processes)


def test_a_runner_that_is_killed_while_a_worker_goes_leaves_the_rest_to_the_next_one(fake: FakeRuns) -> None:
    fake.behaviour["decode-1"] = "ignore-term quiet"
    fake.change = lambda spec: replace(spec, grace_s=2.0)
    view = fake.wait(fake.start(decode={"count": 2}).id, "ready")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(scale, fake, view, decode=1)
        fake.wait_process(view.id, "decode-1", "stopping")
        kill_runner(fake, view)
        with pytest.raises(PeerError):
            asked.result(20)
    assert fake.runs.plan(view.id).leaving == ("decode-1",)
    fake.runs.adopt(view.id)
    wait_for(lambda: not pending(fake, view), "the new runner goes on with the change")
    after = fake.wait(view.id, "ready")
    assert pids(after) == {name: pid for name, pid in pids(view).items() if name != "decode-1"}


def test_a_plan_that_is_more_than_other_workers_is_refused_by_the_runner(fake: FakeRuns) -> None:
    view = fake.wait(fake.start().id, "ready")
    rundir: RunDir = rundir_of(fake, view)
    old = fake.runs.plan(view.id)
    worker = old.processes[0]
    other = replace(old, processes=(replace(worker, name="decode-1", argv=("sh",), env={}), *old.processes))
    with pytest.raises(ConflictError, match="of this run"):
        ask(rundir, protocol.ChangePlan(propose(rundir, old, other, "")))
    with pytest.raises(ConflictError, match="since the difference was shown"):
        ask(rundir, protocol.ChangePlan("0" * 64))
    assert fake.runs.plan(view.id) == old


def test_a_run_that_has_ended_or_is_alone_is_not_scaled(fake: FakeRuns) -> None:
    view = fake.wait(fake.start().id, "ready")
    with pytest.raises(ConfigError, match="leaves no decode worker"):
        fake.runs.scaling.preview(view.id, {Role.DECODE: 0})
    record = read_record(rundir_of(fake, view).state)
    assert record is not None and record.runner_pid is not None
    os.kill(record.runner_pid, signal.SIGKILL)
    wait_for(lambda: not rundir_of(fake, view).is_supervised(), "the runner's end")
    with pytest.raises(ConflictError, match="has no runner"):
        fake.runs.scaling.preview(view.id, {Role.DECODE: 2})
    fake.runs.stop(view.id)
    with pytest.raises(ConflictError, match="has ended"):
        fake.runs.scaling.preview(view.id, {Role.DECODE: 2})


def test_a_record_follows_its_plan(fake: FakeRuns) -> None:
    view = fake.wait(fake.start().id, "ready")
    record = read_record(rundir_of(fake, view).state)
    assert record is not None
    plan = fake.runs.plan(view.id)
    assert reconciled(record, plan) == record
    first, *others = plan.processes
    changed = replace(plan, processes=(replace(first, name="decode-9"), *others), leaving=("router",))
    found = {process.name: process for process in reconciled(record, changed).processes}
    assert list(found) == ["decode-9", *(spec.name for spec in others)]
    assert (found["decode-9"].unlisted, found["router"].leaving, found["router"].pid) == (
        True,
        True,
        pids(view)["router"],
    )
