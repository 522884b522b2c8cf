from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pdpanel.engine.errors import PeerError
from pdpanel.panel.web.hub import Hub
from pdpanel.panel.web.port import DeployForm
from pdpanel.panel.web.subscriber import Subscriber, Wish
from simulated_source import SimulatedSource

FORM = DeployForm("pd", "m", 1, 1, "mooncake")


def run_with_hub(source: SimulatedSource, test: Callable[[Hub], Awaitable[None]]) -> None:
    async def main() -> None:
        hub = Hub(source, interval_s=0.01)
        poller = asyncio.create_task(hub.run())
        try:
            await asyncio.wait_for(test(hub), 20)
        finally:
            poller.cancel()
            await asyncio.gather(poller, return_exceptions=True)

    asyncio.run(main())


async def packet(subscriber: Subscriber, kind: str) -> Any:
    while True:
        for found in json.loads(await subscriber.get()):
            if found["type"] == kind:
                return found


def times_of(history: Any) -> list[float]:
    at = history["t0"]
    return [(at := at + apart) / 1000 for apart in history["apart"]]


def test_snapshot_then_history_then_deltas(tmp_path: Path) -> None:
    now = [1000.0]
    source = SimulatedSource(tmp_path, clock=lambda: now[0])
    run_id = source.start(FORM)

    async def test(hub: Hub) -> None:
        async with hub.subscribe() as one:
            (first,) = json.loads(await one.get())
            assert first["type"] == "snapshot"
            assert [run["id"] for run in first["runs"]] == [run_id]
            now[0] += 10
            one.select(Wish(run_id, frozenset({"kv"})))
            history = await packet(one, "history")
            assert len(times_of(history)) == 20
            assert {series["group"] for series in history["series"]} == {"kv"}
            assert len(history["columns"]) == len(history["base"]) == len(history["series"])
            now[0] += 1
            times = times_of(history)
            while len(times) < 22:
                rows = await packet(one, "rows")
                assert rows["version"] == history["version"]
                times += [row[0] for row in rows["rows"]]
            assert times == sorted(set(times))

    run_with_hub(source, test)


def test_second_subscriber_gets_its_own_history(tmp_path: Path) -> None:
    source = SimulatedSource(tmp_path)
    run_id = source.start(FORM)
    source.remember(run_id, 400)

    async def test(hub: Hub) -> None:
        async with hub.subscribe() as one, hub.subscribe() as two:
            one.select(Wish(run_id))
            long = await packet(one, "history")
            two.select(Wish(run_id, window_s=60))
            again = await packet(two, "history")
            # Means of 600 stretches for the whole past, but the last minute comes as it is.
            assert 590 <= len(times_of(long)) <= 602
            assert 0.6 < long["step_s"] < 0.7
            assert (len(times_of(again)), again["step_s"]) == (121, 0)

    run_with_hub(source, test)


def test_changes_alone_are_sent(tmp_path: Path) -> None:
    now = [1000.0]
    source = SimulatedSource(tmp_path, clock=lambda: now[0])
    run_id = source.start(FORM)

    async def test(hub: Hub) -> None:
        async with hub.subscribe() as one:
            await packet(one, "snapshot")
            while (await packet(one, "runs"))["runs"]:
                pass
            source.stop_process(run_id, "decode-0")
            hub.wake()
            changed = await packet(one, "runs")
            while not changed["patches"]:
                changed = await packet(one, "runs")
            assert changed["runs"] == []
            (patch,) = changed["patches"]
            assert patch["id"] == run_id
            assert [place for place, _ in patch["processes"]] == [1]
            assert patch["processes"][0][1]["state"] == "stopped"
            assert "name" not in patch["processes"][0][1]

    run_with_hub(source, test)


def test_nobody_listens_nobody_polls(tmp_path: Path) -> None:
    source = SimulatedSource(tmp_path)
    polls = [0]
    real = source.runs

    def counted() -> Any:
        polls[0] += 1
        return real()

    source.runs = counted  # type: ignore[method-assign]

    async def test(hub: Hub) -> None:
        async with hub.subscribe() as one:
            await packet(one, "runs")
        await asyncio.sleep(0.05)
        before = polls[0]
        await asyncio.sleep(0.1)
        assert polls[0] == before

    run_with_hub(source, test)


def test_slow_subscriber_is_dropped_and_others_go_on(tmp_path: Path) -> None:
    source = SimulatedSource(tmp_path)

    async def test(hub: Hub) -> None:
        async with hub.subscribe() as slow, hub.subscribe() as quick:
            while not slow.dropped.is_set():
                await quick.get()
            await packet(quick, "runs")
            assert not quick.dropped.is_set()

    run_with_hub(source, test)


def test_trouble_is_told_and_survived(tmp_path: Path) -> None:
    source = SimulatedSource(tmp_path)
    real = source.runs
    failures: list[Exception] = []

    def sometimes() -> Any:
        if failures:
            raise failures.pop()
        return real()

    source.runs = sometimes  # type: ignore[method-assign]

    async def test(hub: Hub) -> None:
        async with hub.subscribe() as one:
            failures.append(PeerError("The runner does not answer."))
            assert (await packet(one, "trouble"))["reason"] == "The runner does not answer."
            await packet(one, "runs")
            failures.append(OSError("disk"))
            assert "OSError" in (await packet(one, "trouble"))["reason"]
            await packet(one, "runs")

    run_with_hub(source, test)
