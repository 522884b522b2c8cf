from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from pdpanel.engine.errors import ConfigError, PdpanelError, PeerError
from pdpanel.panel.load.client import open_session
from pdpanel.panel.load.driver import measure
from pdpanel.panel.load.result import LoadResult, Progress, columns_of
from pdpanel.panel.load.server import learn
from pdpanel.panel.load.spec import Arrival, LoadSpec, Route, checked
from pretended_server import PretendedServer


def loaded(
    server: PretendedServer, key: str = "", stop_after: int = 0, **fields: object
) -> tuple[LoadResult, list[Progress]]:
    spec = checked(replace(LoadSpec(url=server.url, input="8", output="5"), **fields))  # pyright: ignore[reportArgumentType]
    told: list[Progress] = []

    async def work() -> LoadResult:
        stop = asyncio.Event()

        def tell(progress: Progress) -> None:
            told.append(progress)
            if stop_after and progress.completed >= stop_after:
                stop.set()

        async with open_session(key) as session:
            return await measure(session, spec, await learn(session, spec), stop, tell)

    return asyncio.run(work()), told


@pytest.mark.parametrize("usage", ["always", "end", "none"])
@pytest.mark.parametrize("route", list(Route)[:2])
def test_everything_is_counted_whatever_the_server_tells(usage: str, route: Route) -> None:
    with PretendedServer(usage=usage, gap_s=0.002) as server:
        result, told = loaded(server, requests=12, concurrency=3, warmup=2, route=route)
    assert (result.sent, result.completed, result.failed, result.cut) == (12, 12, 0, 0)
    assert result.output_tokens == 60
    assert result.ended == "finished"
    assert result.ttft and result.itl and result.tpot and result.e2e
    assert result.concurrency_max == server.most == 3
    assert told[-1].completed == 12
    assert any("usage" in note for note in result.notes) is (usage == "none")
    asked = [body for body in server.bodies if body["max_tokens"] == 5]
    assert len(asked) == 12 + 2
    if usage != "none":
        # Words, of which this server counts each as a token.
        assert result.input_tokens in (96, 12)


def test_several_tokens_in_an_event_are_several_tokens() -> None:
    with PretendedServer(per_event=4, gap_s=0.02) as server:
        result, _ = loaded(server, requests=2, output="13", warmup=0)
    assert result.output_tokens == 26
    assert result.itl
    # 3 more events of 4, 4 and 1 tokens come 0.02 s apart, so most tokens are a quarter of that apart.
    assert len(result.curves["itl"]) == 101
    assert result.itl.p50 < 0.6 * result.itl.largest


@pytest.mark.parametrize(
    ("page", "ids"),
    [
        ({"/model_info": {"vocab_size": 5000}}, range(500, 4500)),
        ({"/tokenize": {"tokens": list(range(40, 80))}}, range(40, 80)),
    ],
)
def test_prompts_are_the_models_own_tokens(page: dict[str, object], ids: range) -> None:
    with PretendedServer(pages=page) as server:
        result, _ = loaded(server, requests=3, input="20", warmup=0)
    prompts = [body["prompt"] for body in server.bodies if body["max_tokens"] == 5]
    assert len(prompts) == 3
    assert all(len(prompt) == 20 and set(prompt) <= set(ids) for prompt in prompts)
    assert result.input_tokens == 60
    assert "random tokens" in result.prompts_from


def test_a_burst_sends_all_at_once_and_a_limit_keeps_a_rate_below_it() -> None:
    with PretendedServer(gap_s=0.02) as server:
        loaded(server, requests=20, arrival=Arrival.BURST, warmup=0)
        assert server.most == 20
        server.most = 0
        result, _ = loaded(server, requests=20, arrival=Arrival.POISSON, rate=5000.0, concurrency=4, warmup=0)
    assert server.most == result.concurrency_max == 4
    assert result.completed == 20


def test_a_time_ends_the_sending_and_a_stop_cuts_what_goes_on() -> None:
    with PretendedServer(gap_s=0.01) as server:
        result, _ = loaded(server, duration_s=0.3, concurrency=2, warmup=0)
        assert result.ended == "finished"
        assert result.completed == result.sent > 2
        stopped, _ = loaded(server, requests=100_000, concurrency=2, warmup=0, stop_after=4)
    assert stopped.ended == "stopped"
    assert stopped.completed >= 4
    assert stopped.sent == stopped.completed + stopped.cut


def test_limits_say_which_requests_were_good() -> None:
    with PretendedServer(gap_s=0.02) as server:
        all_good, _ = loaded(server, requests=4, slo_ttft_ms=60_000.0, slo_itl_ms=60_000.0)
        none_good, _ = loaded(server, requests=4, slo_itl_ms=1.0)
        unlimited, _ = loaded(server, requests=1)
    assert (all_good.good, none_good.good, unlimited.good) == (4, 0, None)
    assert columns_of(all_good)["good_percent"] == 100
    assert columns_of(none_good)["goodput_per_s"] == 0


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ("refuse", "status-400"),
        ("garbage", "garbage"),
        ("cut", "broken"),
        ("endless", "endless"),
        ("silent", "timeout"),
    ],
)
def test_what_goes_wrong_is_counted_by_kind_and_ends_a_hopeless_load(wrong: str, kind: str) -> None:
    with PretendedServer(wrong=wrong) as server:
        result, _ = loaded(server, requests=500, concurrency=10, warmup=0, timeout_s=0.4 if wrong == "silent" else 20.0)
    assert result.completed == 0
    assert result.ended == "gave-up"
    assert result.failed < 60
    assert result.errors[0].kind == kind
    assert columns_of(result)["requests_per_s"] is None
    if wrong == "refuse":
        assert result.errors[0].text == "max_tokens = 5: too long"


def test_a_warm_up_without_an_answer_ends_it_in_a_sentence() -> None:
    with PretendedServer(wrong="refuse") as server, pytest.raises(PeerError, match=r"max_tokens = 5: too long\.$"):
        loaded(server, requests=1)


@pytest.mark.parametrize(
    ("pages", "fields", "said"),
    [
        ({}, {"model": "other"}, "model = 'other': is not served by .*choose of: pretended"),
        ({"/v1/models": "<html>hello"}, {}, "not as an OpenAI-compatible server"),
        ({"/v1/models": {"data": []}}, {}, "give the model's name"),
        ({}, {"prompts": "/does/not/exist"}, "prompts = '/does/not/exist': No such file"),
    ],
)
def test_what_keeps_a_load_from_beginning_is_one_sentence(
    pages: dict[str, object], fields: dict[str, object], said: str
) -> None:
    with PretendedServer(pages=pages) as server, pytest.raises(PdpanelError, match=said):
        loaded(server, **fields)  # pyright: ignore[reportArgumentType]


def test_a_key_is_sent_and_a_missing_one_is_named() -> None:
    with PretendedServer(key="s3cret") as server:
        with pytest.raises(ConfigError, match=r"status 401: no such key.*--api-key"):
            loaded(server)
        result, _ = loaded(server, key="s3cret", requests=1)
    assert result.completed == 1


def test_where_nobody_listens_is_said() -> None:
    with PretendedServer() as server:
        pass
    with pytest.raises(PeerError, match=f"No server answers at {server.url}: connection refused"):
        loaded(server)
