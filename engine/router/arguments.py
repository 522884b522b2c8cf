"""Command line of the router, with sglang_router's flag names.

A flag of sglang_router's that the bundled router does not implement is refused by name, never ignored. Turns argv
into a `RouterConfig` and knows nothing else.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence

from ..errors import ConfigError
from ..flags import FlagParser, host_names, real, refuse_unknown, whole
from .config import (
    BreakerConfig,
    CacheConfig,
    HealthConfig,
    PolicyName,
    RetryConfig,
    Role,
    RouterConfig,
    WorkerAddress,
    parse_worker_url,
)

__all__ = ["parse_router_arguments"]

_LEVELS = {"debug": "debug", "info": "info", "warn": "warning", "warning": "warning", "error": "error"}
_POLICIES = {policy.value: policy for policy in PolicyName}
_FOREIGN_POLICIES = {"manual", "bucket"}


def _policy(flag: str) -> Callable[[str], PolicyName]:
    def convert(text: str) -> PolicyName:
        if (policy := _POLICIES.get(text)) is not None:
            return policy
        known = "not implemented by the bundled router" if text in _FOREIGN_POLICIES else "no such policy"
        raise ConfigError(flag, text, known, f"use one of {', '.join(_POLICIES)}")

    return convert


def _level(text: str) -> str:
    if text not in _LEVELS:
        raise ConfigError("--log-level", text, "no such level", "use debug, info, warning or error")
    return _LEVELS[text]


def _build_parser() -> FlagParser:
    parser = FlagParser(
        prog="python -m pdpanel.engine.launch_router",
        description="The router of pdpanel's bundled engine: one address in front of prefill and decode workers, "
        "or of unified ones. Flags are sglang_router's.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    router, health, retry = RouterConfig(()), HealthConfig(), RetryConfig()
    breaker, cache = BreakerConfig(), CacheConfig()

    def number(flag: str, default: int, text: str, low: int = 0, high: int | None = None) -> None:
        add(flag, type=whole(flag, low, high), default=default, metavar="N", help=f"{text} [{default}]")

    def seconds(flag: str, default: float, text: str) -> None:
        add(flag, type=real(flag, 0, above=True), default=default, metavar="S", help=f"{text} [{default:g}]")

    add("--pd-disaggregation", action="store_true", help="prefill and decode run on separate workers")
    add(
        "--prefill",
        action="append",
        nargs="+",
        default=[],
        metavar=("URL", "PORT"),
        help="a prefill worker and its bootstrap port (or none); repeat for more",
    )
    add("--decode", action="append", nargs="+", default=[], metavar="URL", help="a decode worker; repeat for more")
    add("--worker-urls", nargs="*", default=[], metavar="URL", help="unified workers, without --pd-disaggregation")
    policies = ", ".join(_POLICIES)
    add("--policy", type=_policy("--policy"), metavar="NAME", help=f"{policies} [power_of_two]")
    for flag in ("--prefill-policy", "--decode-policy"):
        add(flag, type=_policy(flag), metavar="NAME", help="the same for one role [--policy]")
    add("--host", default=router.host, help="address to listen on [127.0.0.1: reached from this host alone]")
    number("--port", router.port, "port to listen on; 0 takes a free one", 0, 65535)
    add("--api-key", default="", metavar="KEY", help="asked of clients and shown to workers")
    add("--admin-api-key", default="", metavar="KEY", help="the same for flush, abort and workers [--api-key]")
    add(
        "--allowed-hosts",
        type=host_names("--allowed-hosts"),
        default=(),
        metavar="NAMES",
        help="names, with commas, beside its address under which the router may be addressed, such as a proxy's",
    )
    seconds("--request-timeout-secs", router.request_timeout, "a request's time, retries and waiting included")
    flag = "--max-concurrent-requests"
    add(flag, type=whole(flag, -1), default=-1, metavar="N", help="requests served at once; -1 has no limit [-1]")
    number("--queue-size", router.queue_size, "requests that may wait; more are refused with 503")
    seconds("--queue-timeout-secs", router.queue_timeout, "longest wait in that queue")
    flag = "--worker-wait-secs"
    text = (
        "longest wait for a worker when a role has none: of a request that was tried before, and of up to --queue-size"
    )
    text += (
        f" new ones when a worker was lost in this time; no try is used up, 0 does not wait [{router.worker_wait:g}]"
    )
    add(flag, type=real(flag, 0), default=router.worker_wait, metavar="S", help=text)
    number("--max-payload-size", router.max_payload_bytes, "longest request body in bytes", 1)
    number("--retry-max-retries", retry.max_retries, "tries after the first, those behind sent tokens included")
    number("--retry-initial-backoff-ms", retry.initial_backoff_ms, "wait before the first retry")
    number("--retry-max-backoff-ms", retry.max_backoff_ms, "longest wait before a retry")
    for flag, default, low, high in (
        ("--retry-backoff-multiplier", retry.multiplier, 1, math.inf),
        ("--retry-jitter-factor", retry.jitter, 0, 1),
    ):
        add(flag, type=real(flag, low, high=high), default=default, metavar="F", help=f"[{default}]")
    add("--disable-retries", action="store_true", help="the same as --retry-max-retries 0")
    add("--disable-replay", action="store_true", help="end a stream that breaks, instead of going on elsewhere")
    number("--cb-failure-threshold", breaker.failure_threshold, "failures that keep requests off a worker", 1)
    number("--cb-success-threshold", breaker.success_threshold, "successes that end its probation", 1)
    seconds("--cb-timeout-duration-secs", breaker.timeout, "how long it gets none, before its probation")
    seconds("--cb-window-duration-secs", breaker.window, "the time within which the failures count")
    add("--disable-circuit-breaker", action="store_true", help="failures keep no requests off a worker")
    add(
        "--cache-threshold",
        type=real("--cache-threshold", 0, high=1),
        default=cache.threshold,
        metavar="F",
        help=f"cache_aware: share of a prompt that a worker must have seen [{cache.threshold}]",
    )
    number("--balance-abs-threshold", cache.balance_abs, "cache_aware: loads that differ by this are even")
    add(
        "--balance-rel-threshold",
        type=real("--balance-rel-threshold", 1),
        default=cache.balance_rel,
        metavar="F",
        help=f"cache_aware: loads up to this ratio are even [{cache.balance_rel}]",
    )
    seconds("--eviction-interval-secs", cache.eviction_interval, "cache_aware: between clean-ups")
    number("--max-tree-size", cache.max_tree_size, "cache_aware: bytes of prompts remembered per worker", 1)
    seconds("--shutdown-grace-period-secs", router.shutdown_grace, "for open requests when it, or a worker, leaves")
    seconds("--health-check-interval-secs", health.interval, "between polls of a healthy worker without requests")
    seconds("--health-check-timeout-secs", health.timeout, "longest wait for a poll's answer")
    add("--health-check-endpoint", default=health.endpoint, metavar="PATH", help="what is polled [/health]")
    text = "failed polls until a worker is unhealthy; one that refuses the connection is at once"
    number("--health-failure-threshold", health.failure_threshold, text, 1)
    number("--health-success-threshold", health.success_threshold, "good polls until it is healthy again", 1)
    seconds("--worker-startup-timeout-secs", health.startup_timeout, "how long readiness waits for every worker")
    seconds("--worker-startup-check-interval", health.startup_interval, "between polls of a starting worker")
    add("--log-level", type=_level, default="info", metavar="LEVEL", help="debug, info, warning or error [info]")
    add("--prometheus-host", default=router.prometheus_host, help="address of --prometheus-port [127.0.0.1]")
    number("--prometheus-port", 0, "a second port with /metrics alone; 0 has none", 0, 65535)
    return parser


def _prefill(words: list[str]) -> WorkerAddress:
    if len(words) > 2:
        raise ConfigError("--prefill", " ".join(words), "more than a URL and a bootstrap port", "repeat --prefill")
    bootstrap = None
    if len(words) == 2 and words[1].lower() != "none":
        bootstrap = whole("--prefill (bootstrap port)", 1, 65535)(words[1])
    return parse_worker_url("--prefill", words[0], Role.PREFILL, bootstrap)


def _decode(words: list[str]) -> WorkerAddress:
    if len(words) > 1:
        raise ConfigError("--decode", " ".join(words), "more than one URL", "repeat --decode")
    return parse_worker_url("--decode", words[0], Role.DECODE)


def _workers(given: argparse.Namespace) -> tuple[WorkerAddress, ...]:
    prefill = [_prefill(words) for words in given.prefill]
    decode = [_decode(words) for words in given.decode]
    unified = [parse_worker_url("--worker-urls", url, Role.UNIFIED) for url in given.worker_urls]
    if given.pd_disaggregation:
        if unified:
            problem = "unified workers cannot stand beside --pd-disaggregation"
            raise ConfigError("--worker-urls", unified[0].url, problem, "use --prefill and --decode")
        for flag, found in (("--prefill", prefill), ("--decode", decode)):
            if not found:
                raise ConfigError(flag, "", "missing with --pd-disaggregation", "name at least one worker of each role")
    elif prefill or decode:
        flag, worker = ("--prefill", prefill[0]) if prefill else ("--decode", decode[0])
        raise ConfigError(flag, worker.url, "needs --pd-disaggregation", "add it, or use --worker-urls")
    elif not unified:
        raise ConfigError(
            "--worker-urls",
            "",
            "no worker is named",
            "give its URLs, or --pd-disaggregation with --prefill and --decode",
        )
    seen: set[str] = set()
    for worker in (workers := (*prefill, *decode, *unified)):
        if worker.url in seen:
            raise ConfigError("worker URL", worker.url, "named twice", "name each worker once")
        seen.add(worker.url)
    return workers


def parse_router_arguments(argv: Sequence[str]) -> RouterConfig:
    """Returns the configuration that `argv` (without the program) asks for.

    Raises:
        ConfigError: a flag is unknown or not implemented, or its value cannot be used.
    """
    given, unknown = _build_parser().parse_known_args(list(argv))
    refuse_unknown(unknown, "router")
    if not given.health_check_endpoint.startswith("/"):
        raise ConfigError("--health-check-endpoint", given.health_check_endpoint, "no path", "begin it with /")
    policy = given.policy or PolicyName.POWER_OF_TWO
    limit = given.max_concurrent_requests
    if limit == 0:
        raise ConfigError(
            "--max-concurrent-requests", 0, "nothing would be served", "give 1 or more, or -1 for no limit"
        )
    return RouterConfig(
        workers=_workers(given),
        prefill_policy=given.prefill_policy or policy,
        decode_policy=given.decode_policy or policy,
        host=given.host,
        port=given.port,
        api_key=given.api_key,
        admin_api_key=given.admin_api_key,
        allowed_hosts=given.allowed_hosts,
        request_timeout=given.request_timeout_secs,
        max_concurrent_requests=None if limit < 0 else limit,
        queue_size=given.queue_size,
        queue_timeout=given.queue_timeout_secs,
        worker_wait=given.worker_wait_secs,
        max_payload_bytes=given.max_payload_size,
        health=HealthConfig(
            interval=given.health_check_interval_secs,
            timeout=given.health_check_timeout_secs,
            endpoint=given.health_check_endpoint,
            failure_threshold=given.health_failure_threshold,
            success_threshold=given.health_success_threshold,
            startup_timeout=given.worker_startup_timeout_secs,
            startup_interval=given.worker_startup_check_interval,
        ),
        retry=RetryConfig(
            max_retries=0 if given.disable_retries else given.retry_max_retries,
            initial_backoff_ms=given.retry_initial_backoff_ms,
            max_backoff_ms=given.retry_max_backoff_ms,
            multiplier=given.retry_backoff_multiplier,
            jitter=given.retry_jitter_factor,
            replay=not given.disable_replay,
        ),
        breaker=BreakerConfig(
            failure_threshold=given.cb_failure_threshold,
            success_threshold=given.cb_success_threshold,
            timeout=given.cb_timeout_duration_secs,
            window=given.cb_window_duration_secs,
            enabled=not given.disable_circuit_breaker,
        ),
        cache=CacheConfig(
            threshold=given.cache_threshold,
            balance_abs=given.balance_abs_threshold,
            balance_rel=given.balance_rel_threshold,
            eviction_interval=given.eviction_interval_secs,
            max_tree_size=given.max_tree_size,
        ),
        shutdown_grace=given.shutdown_grace_period_secs,
        log_level=given.log_level,
        prometheus_host=given.prometheus_host,
        prometheus_port=given.prometheus_port,
    )
