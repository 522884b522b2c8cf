"""Workers that come and go while the router runs, and a router that ends."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web
from pdpanel.engine.router.config import PolicyName, Role

from .router_stub import ANSWER, Call, Cluster, Stub, cluster, decode_script, events_of, eventually, run, until


async def changed(c: Cluster, method: str, path: str, **more: Any) -> tuple[int, Any]:
    async with c.client.request(method, c.url + path, **more) as response:
        return response.status, await response.json()


async def urls(c: Cluster) -> set[str]:
    return {worker["url"] for worker in await c.workers()}


def test_a_worker_is_added_asked_and_removed() -> None:
    async def test() -> None:
        extra = Stub(Role.DECODE, decode_script)
        await extra.start()
        try:
            async with cluster(decode_policy=PolicyName.ROUND_ROBIN) as c:
                body = {"url": extra.url, "worker_type": "decode"}
                async with c.client.post(c.url + "/workers", json=body) as response:
                    assert response.status == 202
                    where = response.headers["Location"]
                assert (await changed(c, "POST", "/workers", json=body))[0] == 409

                async def is_healthy() -> bool:
                    return (await c.get(where))[1]["is_healthy"]

                await eventually(is_healthy)
                for _ in range(4):
                    async with c.generate() as response:
                        assert await events_of(response) == ANSWER
                assert len(extra.calls) == len(c.decode.calls) == 2
                status, said = await changed(c, "DELETE", "/workers/" + quote(c.decode.url, safe=""))
                assert status == 202 and said["url"] == c.decode.url

                async def is_gone() -> bool:
                    return await urls(c) == {c.prefill.url, extra.url}

                await eventually(is_gone)
                async with c.generate() as response:
                    assert await events_of(response) == ANSWER
                assert len(extra.calls) == 3 and await c.is_ready()
                assert (await changed(c, "DELETE", "/workers/7"))[0] == 404
                assert (await changed(c, "DELETE", where))[0] == 202
                await eventually(_unready(c))
        finally:
            await extra.stop()

    run(test)


def _unready(c: Cluster) -> Any:
    async def is_unready() -> bool:
        status, body = await c.get("/readiness")
        return status == 503 and "no healthy decode worker" in body["reason"]

    return is_unready


@pytest.mark.parametrize("patient", [True, False])
def test_a_removed_worker_may_finish_and_what_is_left_goes_elsewhere(patient: bool) -> None:
    gate = asyncio.Event()

    async def gated(call: Call) -> web.StreamResponse:
        await gate.wait()
        return await decode_script(call)

    async def answer(c: Cluster) -> object:
        async with c.generate(stream=False) as response:
            return (await response.json())["text"]

    async def test() -> None:
        grace = 20.0 if patient else 0.02
        async with cluster(decode=[gated, decode_script], shutdown_grace=grace) as c:
            slow, other = c.of(Role.DECODE)
            async with asyncio.TaskGroup() as group:
                waiting = [group.create_task(answer(c)) for _ in range(8)]
                await until(lambda: bool(slow.calls))
                assert (await changed(c, "DELETE", "/workers/" + quote(slow.url, safe="")))[0] == 202
                before = len(slow.calls)
                assert await answer(c) == "abc" and len(slow.calls) == before
                if patient:
                    assert next(w for w in await c.workers() if w["url"] == slow.url)["state"] == "draining"
                    gate.set()
            assert [task.result() for task in waiting] == ["abc"] * 8

            async def is_gone() -> bool:
                return slow.url not in await urls(c)

            await eventually(is_gone)
            assert all(call.cancelled is not patient for call in slow.calls)
            assert len(other.calls) >= 1

    run(test)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "http://127.0.0.1:1", "worker_type": "regular"}, "worker_type"),
        ({"url": "http://127.0.0.1:1"}, "worker_type"),
        ({"url": "nowhere", "worker_type": "decode"}, "url"),
        ({"worker_type": "decode"}, "url"),
        ({"url": "http://127.0.0.1:1", "worker_type": "prefill", "bootstrap_port": 0}, "bootstrap_port"),
        ({"url": "http://127.0.0.1:1", "worker_type": "decode", "priority": 3}, "priority"),
        ([], "body"),
    ],
)
def test_a_worker_that_does_not_fit_is_refused_by_name(body: object, field: str) -> None:
    async def test() -> None:
        async with cluster() as c:
            status, said = await changed(c, "POST", "/workers", json=body)
            assert status == 400 and said["error"]["message"].startswith(field)
            assert len(await c.workers()) == 2

    run(test)


def test_changes_want_the_admin_key() -> None:
    async def test() -> None:
        async with cluster(api_key="key", admin_api_key="admin") as c:
            headers = {"Authorization": "Bearer key"}
            body = {"url": "http://127.0.0.1:1", "worker_type": "decode"}
            assert (await changed(c, "GET", "/workers", headers=headers))[0] == 200
            assert (await changed(c, "POST", "/workers", headers=headers, json=body))[0] == 401
            assert (await changed(c, "DELETE", "/workers/0", headers=headers))[0] == 401
            foreign = {"Authorization": "Bearer admin", "Origin": "http://evil.example"}
            assert (await changed(c, "DELETE", "/workers/0", headers=foreign))[0] == 403
            headers = {"Authorization": "Bearer admin"}
            assert (await changed(c, "POST", "/workers", headers=headers, json=body))[0] == 202

    run(test)


def test_a_router_that_ends_lets_open_requests_end_and_refuses_new_ones() -> None:
    gate = asyncio.Event()

    async def gated(call: Call) -> web.StreamResponse:
        await gate.wait()
        return await decode_script(call)

    async def test() -> None:
        async with cluster(decode=[gated], shutdown_grace=20.0) as c, c.generate() as response:
            c.stop.set()

            async def is_unready() -> bool:
                return not await c.is_ready()

            await eventually(is_unready)
            assert "about to end" in (await c.get("/readiness"))[1]["reason"]
            async with c.generate() as refused:
                assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
            gate.set()
            assert await events_of(response) == ANSWER

    run(test)
