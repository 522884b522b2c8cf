"""The key of an attached run reaches the hosts it was given for, with every kind of question, and no other."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fake_workers import serving, worker_answers
from pdpanel.engine.errors import PeerError
from pdpanel.panel.attach.answers import Identity
from pdpanel.panel.attach.discover import Discovered, FoundServer
from pdpanel.panel.attach.key_file import NO_KEY, AttachKey, encode_key, key_file, key_of, read_key
from pdpanel.panel.attach.plan import attached_plan
from pdpanel.panel.attach.request import AttachRequest, WantedWorker
from pdpanel.panel.config import read_config
from pdpanel.panel.launch import Role
from pdpanel.panel.proof.keep import key_of_run
from pdpanel.panel.proof.traffic import EngineBytes, Requests
from pdpanel.panel.rundir import RunDir
from pdpanel.panel.runs import Runs
from pdpanel.panel.web.tryout import TryRequest, try_prompt

BEARER = "Bearer the-key"


def test_a_key_is_for_the_hosts_that_were_named(tmp_path: Path) -> None:
    request = AttachRequest(router="https://Router.Example:9/v", workers=(WantedWorker("[::1]:3"),), api_key="the-key")
    key = key_of(request)
    assert key.headers("http://router.example/metrics") == {"Authorization": BEARER}
    assert key.headers("http://[::1]:99/x") == {"Authorization": BEARER}
    for other in ("http://example/", "http://router.example.evil/", "http://127.0.0.1:3", "", "http://the-key@evil/"):
        assert key.headers(other) == {} == NO_KEY.headers(other)
    assert "the-key" not in repr(key)
    rundir = RunDir(tmp_path / "run")
    assert read_key(rundir) == NO_KEY
    rundir.path.mkdir()
    key_file(rundir).write_bytes(encode_key(key))
    assert read_key(rundir) == key


def test_the_scrape_has_the_key_and_a_host_that_only_the_router_names_has_not(tmp_path: Path) -> None:
    runs = Runs(read_config({}, state_dir=tmp_path / "s", cache_dir=tmp_path / "c", config_dir=tmp_path / "d"))
    with serving(worker_answers("prefill")) as prefill, serving(worker_answers("decode")) as decode:
        prefill.wants = BEARER
        elsewhere = decode.url.replace("127.0.0.1", "localhost")
        listed = [{"url": prefill.url, "worker_type": "prefill"}, {"url": elsewhere, "worker_type": "decode"}]
        with serving({"/health": {}, "/workers": {"workers": listed}}) as router:
            router.wants = BEARER
            view = runs.attach(AttachRequest(router=router.url, api_key="the-key"))
            try:
                assert "not sent to localhost" in view.notice
                deadline = time.monotonic() + 20
                wanted = {"proc/prefill-0/running", "proc/decode-0/running"}
                while not any(wanted <= row.values.keys() for row in runs.samples(view.id).rows):
                    assert time.monotonic() < deadline, (prefill.keys, decode.keys)
                    time.sleep(0.05)
                assert prefill.keys["/metrics"] == BEARER
                assert set(decode.keys.values()) == {""}
                assert key_of_run(runs, view.id).text_for(router.url) == "the-key"
            finally:
                runs.stop(view.id)


def test_a_proof_has_the_key_and_takes_it_nowhere_else() -> None:
    answers: dict[str, Any] = {
        "/v1/models": {"data": [{"id": "m"}]},
        "/v1/completions": {"usage": {"prompt_tokens": 7}},
        "/metrics": worker_answers("prefill")["/metrics"],
    }
    with serving(answers) as server, serving({}) as other:
        server.wants = BEARER
        found = FoundServer(server.url, Role.PREFILL, Identity())
        plan = attached_plan("a", Discovered(replace(found, role=Role.ROUTER), (found,)), ()).plan
        key = AttachKey("the-key", frozenset({"127.0.0.1"}))
        assert Requests(plan, key.headers).ask().prompt_tokens == 7
        EngineBytes(plan, key.headers).read()
        assert server.keys == dict.fromkeys(("/v1/models", "/v1/completions", "/metrics"), BEARER)
        with pytest.raises(PeerError, match="names no model"):
            Requests(plan).ask()
        server.answers |= {"/v1/models": 302, "location": f"{other.url}/v1/models"}
        with pytest.raises(PeerError, match="names no model"):
            Requests(plan, key.headers).ask()
        assert other.asked == []


def test_a_try_has_the_key_and_takes_it_nowhere_else() -> None:
    async def tried(url: str, key: str) -> list[dict[str, object]]:
        async with aiohttp.ClientSession() as session:
            return [event async for event in try_prompt(session, url, "m", TryRequest(prompt="hi"), key)]

    events = 'data: {"choices": [{"delta": {"content": "word"}}]}\n\ndata: [DONE]\n\n'
    with serving({"/v1/models": {}, "/v1/chat/completions": events}) as router, serving({}) as other:
        router.wants = BEARER
        assert [event["type"] for event in asyncio.run(tried(router.url, "the-key"))] == ["text", "end"]
        assert asyncio.run(tried(router.url, ""))[-1]["type"] == "error"
        router.answers |= {"/v1/models": 302, "/v1/chat/completions": 302, "location": f"{other.url}/x"}
        (said,) = asyncio.run(tried(router.url, "the-key"))
        assert "status 302" in str(said["reason"])
        assert other.asked == []
