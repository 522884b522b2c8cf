from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Event

from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.launch import LaunchPlan
from pdpanel.panel.plan import RunIds, plan
from pdpanel.panel.runner.following import Following, TelemetrySource
from pdpanel.panel.runner.sampler import Sampler, Watched

PAGES = Path(__file__).parent / "telemetry" / "pages"
DECODE = (PAGES / "bundled-decode-0-2.txt").read_bytes()


class Rows:
    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def add(self, t: float, values: dict[str, float]) -> None:
        self.rows.append(values)

    def flush(self) -> None:
        pass


class Steady:
    name = "steady"
    period_s = 0.1

    def read(self) -> Mapping[str, float]:
        return {"host/cpu_percent": 7.0}

    def close(self) -> None:
        pass


class Hanging(Steady):
    name = "hanging"

    def __init__(self) -> None:
        self.release = Event()

    def read(self) -> Mapping[str, float]:
        self.release.wait(60)
        return {"gpu/0/util_percent": 1.0}


class Failing(Steady):
    name = "failing"

    def read(self) -> Mapping[str, float]:
        raise RuntimeError("the driver is gone")


def sample(
    pages: Mapping[str, bytes | None], until: Callable[[Sampler, Rows], bool], *sources: TelemetrySource
) -> Rows:
    """Samples processes whose /metrics say `pages`; None is a page that never comes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readuntil(b"\r\n\r\n"):
                body = pages[line.split()[1].decode().lstrip("/")]
                if body is None:
                    await reader.read()
                    return
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def run() -> Rows:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        rows = Rows()
        watched = [Watched(name, os.getpid(), True) for name in pages]
        sampler = Sampler(launch(base), rows, lambda: watched, sources)
        task = asyncio.create_task(sampler.run())
        async with asyncio.timeout(60):
            while not until(sampler, rows):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        server.close()
        return rows

    return asyncio.run(run())


def launch(base: str) -> LaunchPlan:
    deployment = parse_deployment({"model": "m", "prefill": {"count": 1}, "decode": {"count": 1}})
    made = plan(deployment, HostFacts("n", 2, "py"), RunIds("r", "/r", "/c"))
    specs = tuple(replace(spec, metrics_url=f"{base}/{spec.name}") for spec in made.processes)
    return replace(made, processes=specs)


def test_a_page_that_never_comes_costs_its_own_values_alone() -> None:
    rows = sample(
        {"decode-0": DECODE, "prefill-0": None},
        lambda sampler, rows: len(rows.rows) > 2 and "proc/decode-0/running" in rows.rows[-1],
    )
    assert rows.rows[-1]["proc/decode-0/running"] == 2
    assert not any(key.startswith("proc/prefill-0/running") for row in rows.rows for key in row)


def test_a_page_that_cannot_be_read_is_said_with_what_was_wrong() -> None:
    found: list[str] = []

    def until(sampler: Sampler, rows: Rows) -> bool:
        found[:] = [f"{one.id} {one.subject} {one.evidence[0].value}" for one in sampler.findings().values()]
        return bool(found)

    sample({"prefill-0": b"<html>It works!</html>", "decode-0": DECODE}, until)
    assert found == ["metrics-unreadable prefill-0 is HTML"]


def test_sources_that_hang_or_fail_hold_up_no_other() -> None:
    hanging = Hanging()
    rows = sample({}, lambda _, rows: any("host/cpu_percent" in row for row in rows.rows), hanging, Steady(), Failing())
    hanging.release.set()
    assert all("gpu/0/util_percent" not in row for row in rows.rows)


def test_a_burst_between_two_beats_is_in_the_next_row() -> None:
    """A NIC is read as often as rows are taken, and both drift: what was read twice between two rows was lost once."""
    reads = iter(({"nic/a/tx_bytes_per_s": 900.0, "gpu/0/util_percent": 3.0}, {"nic/a/tx_bytes_per_s": 0.0}, {}))
    burst = Event()

    class Bursting(Steady):
        period_s = 0.001

        def read(self) -> Mapping[str, float]:
            found = next(reads)
            if not found:
                burst.set()
                raise EOFError
            return found

    source = Bursting()
    following = Following([source])
    following.start()
    assert burst.wait(20)
    source.period_s = 60.0
    now = time.monotonic()
    assert following.values(now) == {"nic/a/tx_bytes_per_s": 450.0}
    assert following.values(now) == {"nic/a/tx_bytes_per_s": 0.0}, "what is taken once counts no more"
    assert following.values(now + 300) == {}
    following.close()
