from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pdpanel.engine.errors import ConfigError
from pdpanel.nic_probe.finding import Evidence, Finding, Severity
from pdpanel.panel.config import read_config
from pdpanel.panel.launch import Role
from pdpanel.panel.runner.journal import Journal
from pdpanel.panel.runner.lifecycle import ProcessState, RunState
from pdpanel.panel.runner.state import ProcessRecord, RunRecord
from pdpanel.panel.webhook.event import PROCESS_CRASHED, RUN_FAILED, RUN_RECOVERED, Event, Witness
from pdpanel.panel.webhook.notify import Notifier, watching
from pdpanel.panel.webhook.target import Target, read_target

SECRET = "hf_" + "abcdefghij0123456789ABCD"
FINDING = Finding("port-taken", Severity.ERROR, "decode-0", (Evidence("log", "x"),), "The port is taken.", "Free it.")
PROCESS = ProcessRecord("decode-0", Role.DECODE, {}, "decode-0.log", 1.0, state=ProcessState.READY)
RUN = RunRecord(
    id="demo-1",
    name="demo",
    state=RunState.READY,
    created_at=1.0,
    host="127.0.0.1",
    router_url="http://127.0.0.1:1",
    model="m",
    transport="tcp",
    boot_id="b",
    processes=(PROCESS, replace(PROCESS, name="prefill-0", role=Role.PREFILL)),
)


def changed(run: RunState = RunState.READY, /, **process: Any) -> RunRecord:
    return replace(RUN, state=run, processes=(replace(PROCESS, **process), RUN.processes[1]))


def names(witness: Witness, record: RunRecord) -> list[tuple[str, str]]:
    return [(event.event, event.process) for event in witness.look(record, 5.0)]


def test_crash_and_recovery_are_told_once() -> None:
    witness = Witness(RUN)
    assert names(witness, RUN) == []
    down = changed(RunState.DEGRADED, state=ProcessState.RESTARTING, failures=1, reason="killed by signal 9")
    assert names(witness, down) == [(PROCESS_CRASHED, "decode-0")]
    assert names(witness, down) == []
    assert names(witness, changed(failures=1)) == [(RUN_RECOVERED, "")]
    assert names(witness, changed(failures=0)) == []


def test_crash_between_two_looks_is_seen() -> None:
    assert names(Witness(RUN), changed(failures=1)) == [(PROCESS_CRASHED, "decode-0")]


def test_failed_run_says_why() -> None:
    witness = Witness(RUN)
    crash, failed = witness.look(changed(RunState.FAILED, state=ProcessState.CRASHED, reason="exit code 1"), 5.0)
    assert (crash.event, failed.event, failed.reason) == (PROCESS_CRASHED, RUN_FAILED, "exit code 1")


def test_events_of_a_simulated_run_say_so() -> None:
    hurt = replace(RUN, simulated=True, state=RunState.DEGRADED)
    failed = replace(changed(RunState.FAILED, state=ProcessState.CRASHED, reason="exit code 1"), simulated=True)
    events = [*Witness(hurt).look(failed, 5.0), *Witness(hurt).look(replace(RUN, simulated=True), 5.0)]
    assert [event.event for event in events] == [PROCESS_CRASHED, RUN_FAILED, RUN_RECOVERED]
    assert [event.body()["simulated"] for event in events] == [True] * 3
    assert EVENT.body()["simulated"] is False


def test_stop_and_restart_by_a_person_are_no_news() -> None:
    witness = Witness(RUN)
    assert names(witness, changed(RunState.DEGRADED, state=ProcessState.STOPPED)) == []
    assert names(witness, changed(RunState.READY, restarts=1)) == []
    stopping = replace(changed(RunState.STOPPING, state=ProcessState.CRASHED), stop_asked=True)
    assert names(witness, stopping) == []


def test_body_has_what_helps_and_no_secret() -> None:
    event = Event(PROCESS_CRASHED, "demo-1", "decode-0", f"HF_TOKEN={SECRET} is refused", (FINDING,) * 9, 5.0)
    text = json.dumps(event.body())
    assert SECRET not in text
    assert json.loads(text) == event.body()
    assert (
        event.body()["findings"]
        == [
            {
                "id": "port-taken",
                "severity": "error",
                "subject": "decode-0",
                "reason": "The port is taken.",
                "remedy": "Free it.",
            }
        ]
        * 5
    )


class Told(Journal):
    def __init__(self) -> None:
        self.lines: list[dict[str, object]] = []

    def say(self, event: str, **fields: object) -> None:
        self.lines.append({"event": event, **fields})


EVENT = Event(PROCESS_CRASHED, "demo-1", "decode-0", "exit code 1", (), 5.0)


def with_server(
    statuses: list[int], work: Callable[[str, Told], Any], headers: dict[str, str] | None = None
) -> tuple[list[Any], Told]:
    """Runs `work` beside a server that answers with `statuses` and then 200; returns what that server got."""
    got: list[Any] = []
    told = Told()

    async def take(request: web.Request) -> web.Response:
        got.append(await request.json())
        return web.Response(status=statuses.pop(0) if statuses else 200, headers=headers)

    async def main() -> None:
        app = web.Application()
        app.router.add_post("/secret-path", take)
        app.router.add_get("/elsewhere", take)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            await work(f"http://127.0.0.1:{runner.addresses[0][1]}/secret-path", told)
        finally:
            await runner.cleanup()

    asyncio.run(main())
    return got, told


async def send(url: str, told: Told, *events: Event, waits_s: tuple[float, ...] = (0.0, 0.0)) -> None:
    notifier = Notifier(Target(url), told, waits_s)
    task = asyncio.create_task(notifier.run())
    for event in events or (EVENT,):
        notifier.tell(event)
    await notifier.drain(20)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("statuses", "tries", "outcome"),
    [
        ([], 1, "sent"),
        ([500, 429], 3, "sent"),
        ([503] * 9, 3, "failed"),
        ([404], 1, "failed"),
        ([302], 1, "failed"),
    ],
)
def test_answer_decides_on_another_try(statuses: list[int], tries: int, outcome: str) -> None:
    got, told = with_server(statuses, send, {"Location": "/elsewhere"})
    assert got == [EVENT.body()] * tries
    assert [line["outcome"] for line in told.lines] == [outcome]
    assert "secret-path" not in json.dumps(told.lines)


def test_dead_server_holds_nothing_up() -> None:
    told = Told()
    asyncio.run(send("http://127.0.0.1:9/secret-path", told))
    assert [line["outcome"] for line in told.lines] == ["failed"]
    assert "secret-path" not in json.dumps(told.lines)


def test_queue_is_bounded_and_keeps_the_newest() -> None:
    async def work(url: str, told: Told) -> None:
        await send(url, told, *(replace(EVENT, at=float(number)) for number in range(100)))

    got, told = with_server([], work)
    assert [each["at"] for each in got] == [float(number) for number in range(36, 100)]
    assert [line["outcome"] for line in told.lines].count("dropped") == 36


def test_end_of_the_run_is_still_told(tmp_path: Path) -> None:
    async def work(url: str, told: Told) -> None:
        path = tmp_path / "webhook"
        path.write_text(url)
        now = [RUN]
        async with watching(path, lambda: now[0], told):
            now[0] = changed(RunState.FAILED, state=ProcessState.CRASHED, reason="exit code 1")

    got, _ = with_server([], work)
    assert [each["event"] for each in got] == [PROCESS_CRASHED, RUN_FAILED]


def test_run_without_a_webhook_costs_nothing(tmp_path: Path) -> None:
    async def work() -> int:
        async with watching(tmp_path / "webhook", lambda: pytest.fail("looked"), Told()):
            return len(asyncio.all_tasks())

    assert asyncio.run(work()) == 1


def test_url_comes_from_option_environment_or_file(tmp_path: Path) -> None:
    url = "https://hooks.example/T/secret-part"
    path = tmp_path / "webhook"
    path.write_text(f"{url}\n")
    path.chmod(0o600)
    assert read_config({}, config_dir=tmp_path).webhook == url
    assert read_config({"PDPANEL_WEBHOOK": "https://a.example/"}, config_dir=tmp_path).webhook == "https://a.example/"
    config = read_config({"PDPANEL_WEBHOOK": "https://a.example/"}, config_dir=tmp_path, webhook=str(path))
    assert config.webhook == url
    assert "secret-part" not in repr(config)
    assert Target(url).shown == "https://hooks.example"
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_target("", tmp_path)


@pytest.mark.parametrize("url", ["ftp://x/secret-part", "https://", "https://a b/secret-part", "http://[x/secret-part"])
def test_wrong_url_is_one_sentence_that_does_not_repeat_it(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_target(url, tmp_path)
    assert "secret-part" not in str(caught.value)
