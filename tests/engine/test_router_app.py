"""The router's own routes, its limits, and who may use it."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web
from pdpanel.engine.router.config import Role

from .router_stub import ANSWER, Call, Cluster, cluster, decode_script, events_of, eventually, hang, run, token, until


def test_readiness_waits_for_all_workers_and_falls_with_a_role() -> None:
    async def test() -> None:
        async with cluster(well=False, ready=False) as c:
            c.prefill.well = True
            assert await c.get("/health") == (200, "OK")

            async def one_is_well() -> bool:
                return (await c.get("/readiness"))[1]["healthy_workers"] == 1

            await eventually(one_is_well)
            status, body = await c.get("/readiness")
            assert (status, body["status"], body["total_workers"]) == (503, "not ready", 2)
            assert c.decode.url in body["reason"]
            c.decode.well = True
            await eventually(c.is_ready)
            _, body = await c.get("/readiness")
            assert body["workers"] == [
                {"url": c.prefill.url, "role": "prefill", "healthy": True},
                {"url": c.decode.url, "role": "decode", "healthy": True},
            ]
            assert (body["status"], body["healthy_workers"], body["total_workers"]) == ("ready", 2, 2)
            c.prefill.well = False

            async def is_unready() -> bool:
                return not await c.is_ready()

            await eventually(is_unready)

    run(test)


def test_no_healthy_worker_is_503_and_names_role_and_url() -> None:
    async def test() -> None:
        async with cluster(well=False, ready=False) as c:
            async with c.generate() as response:
                assert response.status == 503 and "Retry-After" in response.headers
                message = (await response.json())["error"]["message"]
            assert "prefill" in message and c.prefill.url in message
            assert not c.prefill.calls

    run(test)


def test_requests_beyond_the_queue_are_refused_and_the_queued_are_served() -> None:
    gate = asyncio.Event()

    async def gated(call: Call) -> web.StreamResponse:
        await gate.wait()
        return await decode_script(call)

    async def answer(c: Cluster) -> list[object]:
        async with c.generate() as response:
            assert response.status == 200
            return await events_of(response)

    async def test() -> None:
        async with cluster(decode=[gated], max_concurrent_requests=1, queue_size=1) as c:
            served = asyncio.create_task(answer(c))
            await until(lambda: len(c.decode.calls) == 1)
            queued = asyncio.create_task(answer(c))

            async def one_is_queued() -> bool:
                return (await c.get("/workers"))[1]["stats"]["queued_requests"] == 1

            await eventually(one_is_queued)
            async with c.generate() as response:
                assert response.status == 503 and int(response.headers["Retry-After"]) >= 1
                assert "--queue-size" in (await response.json())["error"]["message"]
            gate.set()
            assert await served == await queued == ANSWER

    run(test)


def test_a_request_waits_in_the_queue_no_longer_than_its_limit() -> None:
    async def test() -> None:
        async with cluster(prefill=[hang], decode=[hang], max_concurrent_requests=1, queue_timeout=0.02) as c:
            first = asyncio.create_task(_status(c))
            await until(lambda: len(c.decode.calls) == 1)
            assert await _status(c) == 503
            assert len(c.decode.calls) == 1
            first.cancel()

    run(test)


async def _status(c: Cluster) -> int:
    async with c.generate() as response:
        return response.status


@pytest.mark.parametrize(
    ("content_type", "data", "status"),
    [
        ("application/json", b"[1]", 400),
        ("application/json", b"{", 400),
        ("application/json", b'{"text": "' + b"a" * 3000 + b'"}', 413),
        ("text/plain", b"{}", 415),
        ("application/x-www-form-urlencoded", b"a=1", 415),
    ],
)
def test_bodies_that_cannot_be_relayed_are_refused(content_type: str, data: bytes, status: int) -> None:
    async def test() -> None:
        async with cluster(max_payload_bytes=2000) as c:
            headers = {"Content-Type": content_type}
            async with c.client.post(c.url + "/generate", data=data, headers=headers) as response:
                assert response.status == status
                error = (await response.json())["error"]
            assert error["code"] == status and error["message"].endswith(".") and "\n" not in error["message"]
            assert not c.prefill.calls

    run(test)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({}, 200),
    ],
)
def test_web_pages_of_others_are_refused(headers: dict[str, str], status: int) -> None:
    async def test() -> None:
        async with cluster() as c:
            async with c.client.get(c.url + "/workers", headers=headers) as response:
                assert response.status == status
            async with c.generate(stream=False, headers=headers) as response:
                assert response.status == status

    run(test)


def test_keys_are_asked_of_clients_and_shown_to_workers() -> None:
    async def test() -> None:
        async with cluster(api_key="key", admin_api_key="admin") as c:
            for given in (None, "Bearer wrong", "Bearer admin", "key"):
                async with c.generate(headers={"Authorization": given} if given else None) as response:
                    assert response.status == 401
            async with c.generate(stream=False, headers={"Authorization": "Bearer key"}) as response:
                assert response.status == 200
            assert c.decode.calls[0].headers["Authorization"] == "Bearer key"
            assert (await c.get("/readiness"))[0] == 200
            for given, status in (("key", 401), ("admin", 200)):
                headers = {"Authorization": f"Bearer {given}"}
                async with c.client.post(c.url + "/flush_cache?timeout=3", headers=headers) as response:
                    assert response.status == status
            assert c.decode.posts == c.prefill.posts == [("/flush_cache?timeout=3", "Bearer admin")]

    run(test)


def test_without_a_key_the_clients_own_goes_to_the_workers() -> None:
    async def test() -> None:
        async with cluster() as c, c.generate(stream=False, headers={"Authorization": "Bearer own"}) as response:
            assert response.status == 200
            assert c.prefill.calls[0].headers["Authorization"] == "Bearer own"

    run(test)


def test_the_informing_routes_speak_for_the_workers() -> None:
    async def test() -> None:
        async with cluster() as c:
            for path in ("/v1/models", "/model_info", "/get_model_info"):
                status, body = await c.get(path)
                assert (status, body["role"], body["path"]) == (200, "prefill", path.replace("get_", ""))
            for path in ("/server_info", "/get_server_info"):
                _, body = await c.get(path)
                assert body["router_manager"] is True
                assert [info["url"] for info in body["prefill"]] == [c.prefill.url]
                assert body["decode"][0]["role"] == "decode" and body["internal_states"] == [{"n": 1}]
                assert "secret" not in json.dumps(body)
            _, body = await c.get("/get_loads")
            assert [row["worker"] for row in body["workers"]] == [c.prefill.url, c.decode.url]
            _, body = await c.get("/workers")
            assert body["stats"]["prefill_count"] == body["stats"]["decode_count"] == 1
            assert [w["bootstrap_port"] for w in body["workers"]] == [8998, None]
            status, body = await c.get("/openapi.json")
            assert status == 200 and {"/generate", "/v1/chat/completions", "/health"} <= set(body["paths"])
            assert "replayed_ids" not in json.dumps(body) and "bootstrap_room" not in json.dumps(body)
            status, body = await c.get("/nowhere")
            assert (status, body["error"]["code"]) == (404, 404)
            status, body = await c.get("/generate")
            assert status == 405 and "POST" in body["error"]["message"]

    run(test)


def test_a_worker_that_is_down_does_not_break_server_info() -> None:
    async def test() -> None:
        async with cluster() as c:
            await c.decode.stop()
            _, body = await c.get("/server_info")
            assert body["decode"][0]["url"] == c.decode.url and "gave no answer" in body["decode"][0]["reason"]

    run(test)


def test_an_abort_reaches_all_workers_and_ends_the_request_here() -> None:
    async def first(call: Call) -> web.StreamResponse:
        await call.event(1, token(1))
        return await hang(call)

    async def test() -> None:
        async with cluster(prefill=[first], decode=[hang]) as c, c.generate(rid="mine") as response:
            async with c.client.post(c.url + "/abort_request", json={"rid": "mine"}) as told:
                body = await told.json()
            assert body["router"] == 1 and [w["status"] for w in body["workers"]] == [200, 200]
            events = await events_of(response)
            assert [events[0], events[1]["error"]["code"], events[2]] == [token(1), 499, "[DONE]"]
            assert c.prefill.aborts[0] == {"rid": "mine"}
            async with c.client.post(c.url + "/abort_request", json={"id": "mine"}) as told:
                assert told.status == 400

    run(test)


def test_metrics_count_outcomes_and_added_time() -> None:
    async def test() -> None:
        async with cluster() as c:
            async with c.generate() as response:
                await response.read()
            _, text = await c.get("/metrics")
            assert 'pdpanel_router_requests_total{outcome="ok",route="/generate"} 1.0' in text
            assert 'pdpanel_router_added_seconds_count{stage="dispatch"} 1.0' in text
            assert 'pdpanel_router_added_seconds_count{stage="first_event"} 1.0' in text
            assert "pdpanel_router_ttft_seconds_count 1.0" in text
            assert "pdpanel_router_request_duration_seconds_count 1.0" in text
            assert f'pdpanel_router_worker_requests{{role="decode",worker="{c.of(Role.DECODE)[0].url}"}} 1.0' in text

    run(test)


def test_stopping_tells_open_streams_and_refuses_waiting_answers() -> None:
    async def first(call: Call) -> web.StreamResponse:
        if not call.body["stream"]:
            return await hang(call)
        await call.event(1, token(1))
        return await hang(call)

    async def test() -> None:
        async with cluster(prefill=[first], decode=[hang]) as c, c.generate() as response:
            whole = asyncio.create_task(_whole(c))
            await until(lambda: len(c.decode.calls) == 2)
            c.stop.set()
            events = await events_of(response)
            assert events[0] == token(1) and events[2] == "[DONE]"
            assert events[1]["error"]["code"] == 503 and "shutting down" in events[1]["error"]["message"]
            status, message = await whole
            assert status == 503 and "shutting down" in message
            await until(lambda: all(call.cancelled for stub in c.stubs for call in stub.calls))

    run(test)


async def _whole(c: Cluster) -> tuple[int, str]:
    async with c.generate(stream=False) as response:
        return response.status, (await response.json())["error"]["message"]
