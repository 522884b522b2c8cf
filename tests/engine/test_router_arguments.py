"""Flags are sglang_router's; what is not implemented is refused by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.router.arguments import parse_router_arguments
from pdpanel.engine.router.config import BreakerConfig, CacheConfig, PolicyName, RetryConfig, Role, parse_worker_url

PAIR = "--pd-disaggregation --prefill http://127.0.0.1:1 8998 --decode http://127.0.0.1:2"


def test_a_full_command_line_becomes_a_configuration() -> None:
    config = parse_router_arguments(
        "--pd-disaggregation --prefill http://127.0.0.1:1 8998 --prefill http://[::1]:2/ none --prefill http://h:3 "
        "--decode http://127.0.0.1:4 --policy random --decode-policy round_robin --host 127.0.0.1 --port 8000 "
        "--api-key k --admin-api-key a --request-timeout-secs 5 --max-concurrent-requests 4 --queue-size 0 "
        "--max-payload-size 100 --retry-max-retries 2 --retry-initial-backoff-ms 3 --health-check-interval-secs 0.5 "
        "--worker-startup-timeout-secs 9 --worker-startup-check-interval 0.2 --log-level warn "
        "--prometheus-port 29000 --disable-circuit-breaker --disable-replay --shutdown-grace-period-secs 7 "
        "--cb-failure-threshold 3 --cb-success-threshold 1 --cb-timeout-duration-secs 2 --cb-window-duration-secs 9 "
        "--cache-threshold 0.5 --balance-abs-threshold 8 --balance-rel-threshold 2 --eviction-interval-secs 6 "
        "--max-tree-size 1000 --worker-wait-secs 0".split()
    )
    assert [(w.role, w.url, w.host, w.bootstrap_port) for w in config.workers] == [
        (Role.PREFILL, "http://127.0.0.1:1", "127.0.0.1", 8998),
        (Role.PREFILL, "http://[::1]:2", "[::1]", None),
        (Role.PREFILL, "http://h:3", "h", None),
        (Role.DECODE, "http://127.0.0.1:4", "127.0.0.1", None),
    ]
    assert config.policy(Role.PREFILL) is PolicyName.RANDOM
    assert config.policy(Role.DECODE) is PolicyName.ROUND_ROBIN
    assert (config.max_concurrent_requests, config.queue_size, config.max_payload_bytes) == (4, 0, 100)
    assert (config.retry.max_retries, config.health.interval, config.health.startup_interval) == (2, 0.5, 0.2)
    assert (config.log_level, config.prometheus_port, config.api_key) == ("warning", 29000, "k")
    assert config.roles == (Role.PREFILL, Role.DECODE)
    assert config.breaker == BreakerConfig(3, 1, 2, 9, enabled=False)
    assert config.cache == CacheConfig(0.5, 8, 2, 6, 1000)
    assert (config.retry.replay, config.shutdown_grace, config.worker_wait) == (False, 7, 0)


def test_unified_workers_need_no_pairs() -> None:
    config = parse_router_arguments("--worker-urls http://a:1 http://b:2 --disable-retries".split())
    assert [w.url for w in config.workers] == ["http://a:1", "http://b:2"]
    assert config.roles == (Role.UNIFIED,) and not config.disaggregated
    assert config.retry.max_retries == 0
    assert (config.host, config.max_concurrent_requests) == ("127.0.0.1", None)


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (f"{PAIR} --policy manual", "--policy", "manual"),
        (f"{PAIR} --prefill-policy bucket", "--prefill-policy", "bucket"),
        (f"{PAIR} --policy fastest", "--policy", "fastest"),
        (f"{PAIR} --mini-lb", "--mini-lb", ""),
        (f"{PAIR} --rate-limit-tokens-per-second 3", "--rate-limit-tokens-per-second", "3"),
        (f"{PAIR} --dp-aware=yes", "--dp-aware", "yes"),
        (f"{PAIR} --cb-failure-threshold 0", "--cb-failure-threshold", 0),
        (f"{PAIR} --cache-threshold 1.5", "--cache-threshold", "1.5"),
        (f"{PAIR} --balance-rel-threshold 0.5", "--balance-rel-threshold", "0.5"),
        (f"{PAIR} --shutdown-grace-period-secs 0", "--shutdown-grace-period-secs", "0"),
        (f"{PAIR} --port 99999", "--port", 99999),
        (f"{PAIR} --max-concurrent-requests 0", "--max-concurrent-requests", 0),
        (f"{PAIR} --request-timeout-secs 0", "--request-timeout-secs", "0"),
        (f"{PAIR} --request-timeout-secs nan", "--request-timeout-secs", "nan"),
        (f"{PAIR} --worker-urls http://c:3", "--worker-urls", "http://c:3"),
        (f"{PAIR} --decode http://127.0.0.1:2", "worker URL", "http://127.0.0.1:2"),
        (f"{PAIR} --decode http://c:3 http://d:4", "--decode", "http://c:3 http://d:4"),
        (f"{PAIR} --prefill http://c:3 eight", "--prefill (bootstrap port)", "eight"),
        (f"{PAIR} --health-check-endpoint health", "--health-check-endpoint", "health"),
        (f"{PAIR} --log-level loud", "--log-level", "loud"),
        ("--prefill http://127.0.0.1:1 8998", "--prefill", "http://127.0.0.1:1"),
        ("--decode http://127.0.0.1:1", "--decode", "http://127.0.0.1:1"),
        ("--pd-disaggregation --prefill http://127.0.0.1:1", "--decode", ""),
        ("--pd-disaggregation --decode http://127.0.0.1:1", "--prefill", ""),
        ("", "--worker-urls", ""),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(arguments: str, field: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_router_arguments(arguments.split())
    assert (caught.value.field, caught.value.value) == (field, value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:80",
        "ftp://h:1",
        "http://h",
        "http://:1",
        "http://h:0",
        "http://h:99999",
        "http://u@h:1",
        "http://h:1/path",
        "http://h:1?q",
        "http://[::1:1",
        "http://h:x",
        "http://a b:1",
        "",
    ],
)
def test_a_worker_url_is_scheme_host_and_port(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_worker_url("--decode", url, Role.DECODE)
    assert caught.value.field == "--decode"


@given(st.text())
def test_no_text_as_a_url_breaks_the_parser(url: str) -> None:
    try:
        address = parse_worker_url("--decode", url, Role.DECODE)
    except ConfigError:
        return
    assert address.url.startswith("http")


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_the_backoff_grows_up_to_its_limit(retry: int, drawn: float) -> None:
    config = RetryConfig(initial_backoff_ms=50, max_backoff_ms=1000, multiplier=1.5, jitter=0.2)
    assert 0.04 <= config.backoff(retry, drawn) <= 1.2
    assert config.backoff(retry, 0.5) <= config.backoff(retry + 1, 0.5)


def test_names_that_the_router_may_be_addressed_by() -> None:
    config = parse_router_arguments([*PAIR.split(), "--allowed-hosts", "llm.example.org"])
    assert config.allowed_hosts == ("llm.example.org",)
