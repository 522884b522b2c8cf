"""SGLang's heartbeat: so many failed checks in a row lose a prefill worker, and only in a row."""

from __future__ import annotations

import asyncio

from aiohttp import web
from pdpanel.engine.peer.health import BootstrapHealth


def test_misses_count_in_a_row_and_by_peer() -> None:
    lost: list[tuple[str, str]] = []
    health = BootstrapHealth(5.0, 2, tuple, lambda peer, reason: lost.append((peer, reason)))
    health.take({"a:1": "refused", "b:2": ""})
    health.take({"a:1": "", "b:2": "status 500"})
    health.take({"a:1": "refused"})
    health.take({"a:1": "", "b:2": "status 500"})
    assert not lost, "b was not asked in between"
    health.take({"a:1": "", "b:2": "status 500"})
    assert [peer for peer, _ in lost] == ["b:2"] and "status 500" in lost[0][1]
    health.take({"b:2": "status 500"})
    assert len(lost) == 1, "the count begins anew"


def test_a_server_that_fails_or_is_not_there_is_lost() -> None:
    async def scenario() -> None:
        status = 200
        asked = asyncio.Event()

        async def answer(request: web.Request) -> web.Response:
            asked.set()
            return web.Response(status=status)

        app = web.Application()
        app.router.add_get("/health", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        lost: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        health = BootstrapHealth(0.01, 3, lambda: [f"{host}:{port}"], lambda *told: lost.put_nowait(told))
        task = asyncio.create_task(health.run())
        async with asyncio.timeout(20):
            for _ in range(5):
                asked.clear()
                await asked.wait()
            assert lost.empty()
            status = 503
            assert "status 503" in (await lost.get())[1]
            await runner.cleanup()
            while "status" in (told := await lost.get())[1]:
                pass
            assert told[0] == f"{host}:{port}" and "3 checks" in told[1]
        task.cancel()

    asyncio.run(scenario())
