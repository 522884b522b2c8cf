"""The parallel suite: what its figures are made of, and the short form of what needs no worker. No time is asserted."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web
from pdpanel.engine.errors import PeerError
from pdpanel.panel.bench.pictures import noise_url
from pdpanel.panel.bench.suite import SuiteOptions
from pdpanel.panel.bench.suites.parallel import measure
from pdpanel.panel.bench.suites.parallel_bytes import PEERS, byte_figures
from pdpanel.panel.bench.suites.parallel_ends import Ends
from pdpanel.panel.bench.suites.parallel_load import Loss, load_while
from pdpanel.panel.bench.suites.parallel_loss import CASES

NO_RUNS = cast("Any", None)
QUICK = SuiteOptions(short=True, rounds=1, only=("exchange,by=gloo", "embeddings,by=zmq_to_scheduler"))


def test_the_exchange_and_the_embeddings_stand_beside_their_transport() -> None:
    found = list(byte_figures(QUICK, lambda line: None))
    assert [figure.case.split(",bytes=")[0] for figure in found] == list(QUICK.only)
    assert [figure.peer for figure in found] == ["raw gloo", "raw zmq"]
    assert all(value > 0 for figure in found for value in (*figure.values, *figure.peer_values))
    assert {str(figure.goal) for figure in found} == {">= 0.8"}


def test_an_end_that_dies_is_told_of() -> None:
    ends = Ends("embeddings", "raw zmq", 1 << 20)
    try:
        process = ends._ends[1]._child.process
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with pytest.raises(PeerError, match="End 1 of embeddings by raw zmq ended with code -9"):
            ends._ends[1].hear()
    finally:
        ends._ends[0]._child.process.kill()  # it waits for the other one
        ends.close()


def test_only_what_is_asked_for_is_measured() -> None:
    options = SuiteOptions(short=True, rounds=1, only=("no such case",))
    assert list(measure(options, NO_RUNS, lambda line: None)) == []


def test_a_gap_lasts_from_the_kill_to_the_end_at_most() -> None:
    loss = Loss(_seen=[1.0, 9.0, 10.5, 12.0, 30.0])
    loss.measure(10.0, 20.0)
    assert loss.gap_s == 8.0, "who waits at the end still waits"
    loss.measure(8.5, 13.0)
    assert loss.gap_s == 1.5
    loss.measure(2.0, 8.0)
    assert loss.gap_s == 6.0, "nothing at all came"


def test_clients_count_what_is_lost_and_go_on() -> None:
    """A server whose every third answer is broken, each in another way."""
    answers = iter(range(10**6))
    killed: list[float] = []
    good = [{"text": "a", "meta_info": {}}, {"text": "ab", "meta_info": {"finish_reason": {"type": "length"}}}]
    broken: list[list[Any]] = [
        [{"error": {"message": "it broke"}}],
        [good[0]],
        [good[0], {"text": "a", "meta_info": {"finish_reason": {"type": "abort"}}}],
    ]

    async def handle(request: web.Request) -> web.StreamResponse:
        number = next(answers)
        await request.json()
        if number == 2:
            return web.json_response({"error": "no"}, status=503)
        response = web.StreamResponse()
        await response.prepare(request)
        for event in broken[number // 3 % 3] if number % 3 == 0 else good:
            await response.write(f"data: {json.dumps(event)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    async def run() -> Loss:
        app = web.Application()
        app.router.add_post("/generate", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        (address,) = runner.addresses
        url = f"http://127.0.0.1:{address[1]}"
        try:
            return await load_while(url, "/generate", lambda n: {}, 1, 0.9, lambda: killed.append(time.monotonic()))
        finally:
            await runner.cleanup()

    loss = asyncio.run(run())
    assert len(killed) == 1
    assert loss.answered >= 1
    told = [
        "an error in the stream: {'message': 'it broke'}",
        '503: {"error": "no"}',
        "the stream ended without its end",
    ]
    assert loss.lost[:3] == told
    assert not loss.lost[3:] or "abort" in loss.lost[3]


def test_each_picture_is_an_image_of_its_own() -> None:
    from PIL import Image

    choice = random.Random(1)
    first, second = (base64.b64decode(noise_url(choice).partition(",")[2]) for _ in range(2))
    assert first != second
    image = Image.open(io.BytesIO(first))
    image.load()
    assert (image.size, image.mode) == ((32, 32), "RGB")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_short_form_has_every_kind_of_figure(tmp_path: Path) -> None:
    told: list[str] = []
    found = list(measure(SuiteOptions(short=True, rounds=1), NO_RUNS, told.append))
    cases = {figure.case.split(",")[0] for figure in found}
    assert cases == {"kv", "exchange", "embeddings", "dead=expert", "dead=encoder"}
    missing = [line for line in told if line.startswith("without ")]
    assert len({f.case for f in found if f.metric == "goodput"}) == sum(map(len, PEERS.values())) - len(missing)
    by = {(figure.case, figure.metric): figure for figure in found}
    assert by["kv,tp=2-1", "writes"].is_met
    deaths = [figure for figure in found if figure.metric == "requests_lost"]
    assert {figure.case for figure in deaths} <= set(CASES)
    assert all(figure.is_met for figure in deaths), told
