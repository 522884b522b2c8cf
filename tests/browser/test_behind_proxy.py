"""The page below a prefix, behind a small real proxy: as jupyter-server-proxy does it, in both of its ways."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import pytest
from aiohttp import web
from door_panel import TOKEN, DoorPanel, door_panel
from pd_http import free_port
from playwright.sync_api import Browser, expect

PREFIX = "/user/ann/proxy/panel"
_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "content-length", "content-encoding"}


class Proxy:
    """Forwards everything below the prefix, with the browser's own Host; `strip` takes the prefix away."""

    def __init__(self, target: int, *, strip: bool) -> None:
        self._target, self._strip = target, strip
        self.outside: list[str] = []

    async def serve(self, request: web.Request) -> web.StreamResponse:
        path = request.raw_path
        if path == "/favicon.ico":
            # Browsers ask for it by themselves before a page names its icon.
            return web.Response(status=204)
        if not path.startswith(f"{PREFIX}/"):
            self.outside.append(path)
            return web.Response(status=404)
        url = f"http://127.0.0.1:{self._target}{path.removeprefix(PREFIX) if self._strip else path}"
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
        headers["Accept-Encoding"] = "identity"
        async with aiohttp.ClientSession() as session:
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._socket(session, request, url, headers)
            body = await request.read()
            async with session.request(request.method, url, headers=headers, data=body, allow_redirects=False) as got:
                kept = [(k, v) for k, v in got.headers.items() if k.lower() not in _HOP]
                answer = web.Response(status=got.status, body=await got.read())
                for name, value in kept:
                    if name.lower() == "content-type":
                        answer.headers[name] = value
                    else:
                        answer.headers.add(name, value)
                return answer

    async def _socket(
        self, session: aiohttp.ClientSession, request: web.Request, url: str, headers: dict[str, str]
    ) -> web.WebSocketResponse:
        passed = {k: v for k, v in headers.items() if not k.lower().startswith("sec-websocket")}
        near = web.WebSocketResponse()
        async with session.ws_connect(url, headers=passed) as far:
            await near.prepare(request)

            async def down() -> None:
                async for message in far:
                    await near.send_str(str(message.data))

            task = asyncio.create_task(down())
            async for message in near:
                await far.send_str(str(message.data))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return near


@contextmanager
def running(proxy: Proxy, port: int) -> Iterator[None]:
    loop = asyncio.new_event_loop()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", proxy.serve)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        return runner

    # Playwright's loop holds this thread.
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(start(), loop).result(20)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture(scope="module")
def outer_ports() -> dict[bool, int]:
    return {strip: free_port() for strip in (True, False)}


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory, outer_ports: dict[bool, int]) -> Iterator[DoorPanel]:
    options = ["--root-path", PREFIX]
    for port in outer_ports.values():
        options += ["--allowed-hosts", f"localhost:{port}"]
    with door_panel(tmp_path_factory.mktemp("prefix") / "panel", options) as panel:
        yield panel


@pytest.mark.parametrize("strip", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["stripped", "unstripped"])
def test_page_below_a_prefix(chromium: Browser, panel: DoorPanel, outer_ports: dict[bool, int], strip: bool) -> None:
    outer = outer_ports[strip]
    proxy = Proxy(panel.port, strip=strip)
    with running(proxy, outer):
        run = panel.deploy()
        context = chromium.new_context()
        page = context.new_page()
        missing: list[str] = []
        page.on("response", lambda got: missing.append(got.url) if got.status >= 400 else None)
        page.goto(f"http://localhost:{outer}{PREFIX}/?token={TOKEN}")
        expect(page.get_by_test_id("live-chip")).to_have_attribute("data-state", "live", timeout=40_000)
        page.wait_for_function("(run) => window.pdpanel.runs.some((each) => each.id === run)", arg=run)
        assert page.url.split("#")[0] == f"http://localhost:{outer}{PREFIX}/"
        (cookie,) = context.cookies()
        assert (cookie.get("path"), cookie.get("sameSite")) == (PREFIX, "Strict")
        stopped = page.evaluate(
            """async (path) => (await fetch(path, {
              method: "POST", headers: { "Content-Type": "application/json" }, body: "{}",
            })).status""",
            f"{PREFIX}/api/runs/{run}/stop",
        )
        assert stopped == 202
        assert panel.is_stopped(run)
        assert (missing, proxy.outside) == ([], [])
        context.close()
