"""The router as a process: lean, quick to say what is wrong, and gone at once on SIGTERM."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from asyncio.subprocess import Process

import aiohttp
import psutil
from aiohttp import web
from pdpanel.engine.router.config import Role

from .router_stub import Call, Stub, decode_script, events_of, eventually, hang, prefill_script, run, token

MAX_RSS = 120_000_000
COMMAND = (sys.executable, "-m", "pdpanel.engine.launch_router")


async def listening(*flags: str) -> tuple[Process, str]:
    """Starts a router on a free port and returns it with its URL."""
    process = await asyncio.create_subprocess_exec(*COMMAND, "--port", "0", *flags, stderr=subprocess.PIPE)
    assert process.stderr is not None
    async with asyncio.timeout(20):
        async for line in process.stderr:
            if (said := json.loads(line)).get("event") == "listening":
                return process, said["url"]
    raise AssertionError("the router ended without listening")


def refused(*flags: str) -> str:
    """Runs a router that must refuse its flags; returns what it says."""
    ended = subprocess.run([*COMMAND, *flags], capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 2
    assert ended.stdout == "" and ended.stderr.count("\n") == 1
    return ended.stderr


def test_sigterm_ends_it_with_exit_code_0_and_tells_open_streams() -> None:
    async def first(call: Call) -> web.StreamResponse:
        await call.event(1, token(1))
        return await hang(call)

    async def test() -> None:
        stubs = [Stub(Role.PREFILL, first), Stub(Role.DECODE, hang)]
        for stub in stubs:
            await stub.start()
        process, url = await listening(
            "--pd-disaggregation", "--prefill", stubs[0].url, "8998", "--decode", stubs[1].url
        )
        try:
            async with aiohttp.ClientSession() as client:
                await _ready(client, url)
                async with client.post(url + "/generate", json={"text": "a", "stream": True}) as response:
                    assert response.status == 200
                    process.send_signal(signal.SIGTERM)
                    events = await events_of(response)
                assert [events[0], events[1]["error"]["code"], events[2]] == [token(1), 503, "[DONE]"]
            async with asyncio.timeout(10):
                assert await process.wait() == 0
        finally:
            await _end(process)
            for stub in stubs:
                await stub.stop()

    run(test)


def test_it_is_small_and_imports_nothing_heavy() -> None:
    async def test() -> None:
        stubs = [Stub(Role.PREFILL, prefill_script), Stub(Role.DECODE, decode_script)]
        for stub in stubs:
            await stub.start()
        process, url = await listening(
            "--pd-disaggregation", "--prefill", stubs[0].url, "8998", "--decode", stubs[1].url
        )
        try:
            async with aiohttp.ClientSession() as client:
                await _ready(client, url)

                async def ask() -> None:
                    async with client.post(url + "/generate", json={"text": "a", "stream": True}) as response:
                        assert len(await events_of(response)) == 5

                await asyncio.gather(*(ask() for _ in range(64)))
            assert psutil.Process(process.pid).memory_info().rss < MAX_RSS
        finally:
            await _end(process)
            for stub in stubs:
                await stub.stop()

    run(test)
    code = "import sys; from pdpanel.engine import launch_router; import pdpanel.engine.router.process; "
    code += "print(*sorted({'torch', 'numpy', 'gradio', 'fastapi'} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert ended.stdout.strip() == ""


def test_a_port_in_use_is_told_with_a_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused("--port", str(port), "--worker-urls", "http://127.0.0.1:9")
    assert said.startswith(f"error: --port = {port}: ") and "in use" in said
    free = int(said.rpartition("--port ")[2].rstrip(".\n"))
    assert free not in (0, port)


def test_a_flag_that_is_not_implemented_is_refused_by_name() -> None:
    assert "--mini-lb" in refused("--mini-lb", "--worker-urls", "http://127.0.0.1:9")


def test_metrics_can_have_a_port_of_their_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]

    async def test() -> None:
        process, _ = await listening("--worker-urls", "http://127.0.0.1:9", "--prometheus-port", str(port))
        try:
            async with aiohttp.ClientSession() as client:
                async with client.get(f"http://127.0.0.1:{port}/metrics") as response:
                    assert "pdpanel_router_worker_healthy" in await response.text()
                async with client.get(f"http://127.0.0.1:{port}/workers") as response:
                    assert response.status == 404
        finally:
            await _end(process)

    run(test)


async def _ready(client: aiohttp.ClientSession, url: str) -> None:
    async def is_ready() -> bool:
        async with client.get(url + "/readiness") as response:
            return response.status == 200

    await eventually(is_ready)


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()
