"""A router is told of workers by HTTP: with its key, once, and with words when it does not take them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web
from pdpanel.panel.launch import ProcessSpec, Readiness, Role
from pdpanel.panel.runner.router_members import RouterMembers

WORKER = ProcessSpec(
    "prefill-1",
    Role.PREFILL,
    "",
    ("x",),
    {},
    "",
    {"http": 30002, "bootstrap": 9000},
    Readiness("http://127.0.0.1:30002/health", 1.0),
    "p.log",
)


@dataclass
class Pretended:
    """A router's /workers: what it was asked, and what it answers."""

    status: int = 202
    workers: Any = field(default_factory=list)
    asked: list[tuple[str, str, str, Any]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        key = request.headers.get("Authorization", "")
        self.asked.append((request.method, request.raw_path, key, json.loads(body) if body else None))
        if request.method == "GET":
            return web.json_response(self.workers)
        return web.json_response({"status": "accepted"}, status=self.status)


@asynccontextmanager
async def pretended(router: Pretended, *argv: str) -> AsyncIterator[RouterMembers]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", router.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    spec = replace(WORKER, name="router", role=Role.ROUTER, argv=("smg", *argv))
    try:
        yield RouterMembers(replace(spec, ready=Readiness(f"http://127.0.0.1:{port}/readiness", 1.0)))
    finally:
        await runner.cleanup()


def test_a_worker_is_added_with_the_key() -> None:
    async def talk() -> Pretended:
        router = Pretended()
        async with pretended(router, "--api-key", "secret") as members:
            assert await members.add(WORKER) == ""
        return router

    asked = asyncio.run(talk()).asked
    body = {"url": "http://127.0.0.1:30002", "worker_type": "prefill", "bootstrap_port": 9000}
    assert asked == [("POST", "/workers", "Bearer secret", body)]


def test_one_that_is_there_already_is_fine_and_other_refusals_are_words() -> None:
    async def talk(status: int) -> str:
        async with pretended(Pretended(status)) as members:
            return await members.add(WORKER)

    assert asyncio.run(talk(409)) == ""
    assert asyncio.run(talk(401)) == "answers with status 401"
    assert asyncio.run(talk(405)) == "takes no workers while it runs (status 405)"


def test_a_worker_is_removed_by_its_id_or_by_its_url() -> None:
    async def talk(row: dict[str, Any]) -> list[str]:
        router = Pretended(workers={"workers": [row]})
        async with pretended(router) as members:
            assert await members.remove(WORKER) == ""
        return [f"{method} {path}" for method, path, _, _ in router.asked]

    url = "http://127.0.0.1:30002"
    assert asyncio.run(talk({"url": url, "id": 7}))[1:] == ["DELETE /workers/7"]
    assert asyncio.run(talk({"url": f"{url}/"}))[1:] == ["DELETE /workers/http%3A%2F%2F127.0.0.1%3A30002%2F"]
    assert asyncio.run(talk({"url": "http://127.0.0.1:1", "id": "x"}))[1:] == [], "it is not there"


def test_a_list_that_is_none_is_not_believed() -> None:
    async def talk(workers: Any) -> tuple[object, str]:
        async with pretended(Pretended(workers=workers)) as members:
            return await members.known(), await members.remove(WORKER)

    for workers in ([1], {"workers": 3}, {"workers": [{"id": "x"}]}):
        assert asyncio.run(talk(workers)) == (None, "does not tell its workers")


def test_a_router_that_is_away_is_words() -> None:
    spec = replace(WORKER, role=Role.ROUTER, ready=Readiness("http://127.0.0.1:1/readiness", 1.0))
    assert asyncio.run(RouterMembers(spec).add(WORKER)).startswith("does not answer: ")
