"""Health, model, arguments, load, metrics, and what an operator may do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pdpanel.engine.config import Mode
from pdpanel.engine.errors import CapacityError
from pdpanel.engine.statistics import EngineStatistics
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from .conftest import Ask, FakeEngine, MakeEngine

MODES = pytest.mark.parametrize("mode", list(Mode))


@MODES
@pytest.mark.parametrize("path", ["/health", "/health_generate", "/ready"])
def test_health(make_engine: MakeEngine, ask: Ask, mode: Mode, path: str) -> None:
    assert ask(make_engine(mode), path).status == 200
    assert ask(make_engine(mode), path, method="HEAD").status == 200
    sick = ask(make_engine(mode, alive=False), path)
    assert (sick.status, sick.error["type"]) == (503, "overloaded_error")


def test_health_generate_makes_one_token_on_a_unified_worker(make_engine: MakeEngine, ask: Ask) -> None:
    engine = make_engine()
    assert ask(engine, "/health_generate").status == 200
    assert engine.last.sampling.max_new_tokens == 1
    assert len(engine.ended) == 1
    assert ask(make_engine(refusal=CapacityError("Full.")), "/health_generate").status == 503
    pair = make_engine(Mode.DECODE)
    assert ask(pair, "/health_generate").status == 200
    assert not pair.requests


def test_models(engine: FakeEngine, ask: Ask) -> None:
    (card,) = ask(engine, "/v1/models").json["data"]
    assert {"id": "tiny", "object": "model", "max_model_len": 64}.items() <= card.items()
    assert isinstance(card["created"], int)
    assert ask(engine, "/v1/models/tiny").json["id"] == "tiny"
    assert ask(engine, "/v1/models/org/other").status == 404


@pytest.mark.parametrize("path", ["/model_info", "/get_model_info"])
@MODES
def test_model_info(make_engine: MakeEngine, ask: Ask, path: str, mode: Mode) -> None:
    info = ask(make_engine(mode), path).json
    assert info["model_path"] == info["tokenizer_path"] == "/models/tiny"
    assert info["architectures"] == ["LlamaForCausalLM"]
    assert (info["model_type"], info["is_generation"]) == ("llama", True)
    assert info["disaggregation_mode"] == mode.value


@pytest.mark.parametrize("path", ["/server_info", "/get_server_info"])
def test_server_info(make_engine: MakeEngine, ask: Ask, path: str) -> None:
    engine = make_engine(Mode.PREFILL, api_key="hush", admin_api_key="whist")
    reply = ask(engine, path, headers={"Authorization": "Bearer hush"})
    info = reply.json
    expected = {
        "disaggregation_mode": "prefill",
        "served_model_name": "tiny",
        "model_path": "/models/tiny",
        "tp_size": 1,
        "dp_size": 1,
        "load_balance_method": "round_robin",
        "page_size": 16,
        "context_length": 64,
        "startup": {"weights": 0.5, "server": 0.25},
        "transfer": {"requested": "mooncake", "backend": "tcp", "notice": "no mooncake"},
    }
    assert expected.items() <= info.items()
    assert info["version"]
    assert info["pages"]["slot"] == {"total": 10, "free": 7, "held": 2, "quarantined": 1, "cached": 0}
    assert info["pages"]["staging"]["quarantined"] == 1
    assert info["open"] == {"requests": 0, "rooms": 0, "sends": 0}
    assert info["internal_states"][0]["num_running_reqs"] == 2
    assert b"hush" not in reply.body
    assert b"whist" not in reply.body


def test_a_unified_worker_has_no_staging_pages(engine: FakeEngine, ask: Ask) -> None:
    assert ask(engine, "/server_info").json["pages"]["staging"] is None


def test_get_load(engine: FakeEngine, ask: Ask) -> None:
    load = [{"dp_rank": 0, "num_reqs": 6, "num_waiting_reqs": 4, "num_tokens": 32}]
    assert ask(engine, "/get_load").json == load


def test_each_attention_group_has_its_load_and_state(
    make_engine: MakeEngine, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine()
    each = (EngineStatistics(running=2, used_tokens=32), EngineStatistics(queued=1, max_total_tokens=64))
    monkeypatch.setattr(engine, "statistics", lambda: EngineStatistics(running=2, groups=each))
    loads = [
        {"dp_rank": 0, "num_reqs": 2, "num_waiting_reqs": 0, "num_tokens": 32},
        {"dp_rank": 1, "num_reqs": 1, "num_waiting_reqs": 1, "num_tokens": 0},
    ]
    assert ask(engine, "/get_load").json == loads
    states = ask(engine, "/server_info").json["internal_states"]
    assert [state["num_running_reqs"] for state in states] == [2, 0]
    assert states[1]["max_total_num_tokens"] == 64
    assert {state["effective_max_running_requests_per_dp"] for state in states} == {
        -(-engine.config.max_running_requests // 2)
    }


def test_metrics_are_those_of_the_moment(engine: FakeEngine, ask: Ask) -> None:
    engine.metrics.tokens(prompt=5)
    reply = ask(engine, "/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(reply.body.decode())
        for sample in family.samples
    }
    assert samples["sglang:prompt_tokens_total"] == 5
    assert samples["sglang:num_running_reqs"] == 2
    assert samples["sglang:token_usage"] == 0.2
    assert ask(engine, "/metrics", method="HEAD").status == 200


def test_flush_cache(make_engine: MakeEngine, ask: Ask) -> None:
    assert ask(make_engine(), "/flush_cache", {}).json["success"] is True
    assert ask(make_engine(), "/flush_cache", method="POST").status == 200  # as SGLang's clients send it
    busy = ask(make_engine(busy_flushes=1), "/flush_cache", {})
    assert (busy.status, busy.error["type"]) == (409, "conflict_error")
    assert ask(make_engine(busy_flushes=2), "/flush_cache?timeout=60", method="POST").status == 200
    assert ask(make_engine(busy_flushes=2), "/flush_cache", {"timeout": 60}).status == 200


@pytest.mark.parametrize("timeout", ["x", "-1", "nan", "inf", "1e9", ""])
def test_flush_cache_waits_a_number_of_seconds(engine: FakeEngine, ask: Ask, timeout: str) -> None:
    reply = ask(engine, f"/flush_cache?timeout={timeout}", {})
    assert (reply.status, reply.error["param"]) == (400, "timeout")


def test_abort_request(engine: FakeEngine, ask: Ask) -> None:
    assert ask(engine, "/abort_request", {"rid": "r1"}).json == {"aborted": True}
    assert ask(engine, "/abort_request", {"rid": "unknown"}).json == {"aborted": False}
    assert ask(engine, "/abort_request", {"abort_all": True, "rid": ""}).json == {"aborted": True}
    assert engine.aborts == ["r1", "unknown", ""]


@pytest.mark.parametrize(
    ("body", "param"),
    [({}, "rid"), ({"rid": ""}, "rid"), ({"rid": 5}, "rid"), ({"abort_all": "yes"}, "abort_all"), ({"id": "r"}, "id")],
)
def test_abort_request_needs_a_name(engine: FakeEngine, ask: Ask, body: dict[str, object], param: str) -> None:
    reply = ask(engine, "/abort_request", body)
    assert (reply.status, reply.error["param"]) == (400, param)
    assert not engine.aborts
