"""A process that serves ends when it is told to, after what is open or at once, and says so of a port that is taken."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web
from pdpanel.engine.config import ServerConfig
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.net import bind_listener
from pdpanel.engine.service import Ending, listening


@dataclass
class Worker:
    open_requests: int
    draining: bool = False


async def told(ending: Ending, event: asyncio.Event) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(10):
        await event.wait()


def test_the_end_comes_after_what_is_open() -> None:
    async def run() -> None:
        ending, worker = Ending(), Worker(open_requests=1)
        drained = asyncio.create_task(ending.drained(worker, 60))
        await asyncio.sleep(0)
        assert not worker.draining
        await told(ending, ending.asked)
        while not worker.draining:  # noqa: ASYNC110 (it is told)
            await asyncio.sleep(0)
        assert not drained.done()
        worker.open_requests = 0
        async with asyncio.timeout(10):
            await drained

    asyncio.run(run())


@pytest.mark.parametrize("grace", [60, 0.01])
def test_nobody_waits_for_ever(grace: float) -> None:
    """A second signal ends the waiting, and so does the end of the grace."""

    async def run() -> None:
        ending, worker = Ending(), Worker(open_requests=1)
        drained = asyncio.create_task(ending.drained(worker, grace))
        await told(ending, ending.asked)
        if grace == 60:
            await told(ending, ending.at_once)
        async with asyncio.timeout(10):
            await drained
        assert worker.open_requests == 1

    asyncio.run(run())


def test_it_listens_within_the_block_and_names_a_port_that_is_taken() -> None:
    async def run() -> None:
        bound = bind_listener("--port", "127.0.0.1", 0)
        port = bound.getsockname()[1]
        config = ServerConfig(model_path="x", port=port)
        async with listening(web.AppRunner(web.Application()), bound, config), aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/") as answer:
                assert answer.status == 404
            with pytest.raises(ConfigError, match=rf"^--port = {port}: the port is in use"):
                bind_listener("--port", "127.0.0.1", port)
        # Two that start together can both bind; the second one learns of it when it listens.
        first, second = (bind_listener("--port", "127.0.0.1", port) for _ in range(2))
        try:
            first.listen()
            with pytest.raises(ConfigError, match=rf"^--port = {port}: the port is in use"):
                async with listening(web.AppRunner(web.Application()), second, config):
                    pass
        finally:
            first.close()
            second.close()

    asyncio.run(run())
