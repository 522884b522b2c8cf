"""What the router is started with: plain frozen values, checked by `arguments`.

Knows nothing of argv, sockets or clocks. Times are in seconds unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import SplitResult, urlsplit

from ..errors import ConfigError

__all__ = [
    "BreakerConfig",
    "CacheConfig",
    "HealthConfig",
    "PolicyName",
    "RetryConfig",
    "Role",
    "RouterConfig",
    "WorkerAddress",
    "parse_worker_url",
]

_URL_REMEDY = "give a URL such as http://127.0.0.1:30000"


class Role(Enum):
    """What a worker behind the router does."""

    PREFILL = "prefill"
    DECODE = "decode"
    UNIFIED = "unified"


class PolicyName(Enum):
    """How a worker is chosen among the healthy ones of its role."""

    RANDOM = "random"
    ROUND_ROBIN = "round_robin"
    POWER_OF_TWO = "power_of_two"
    CACHE_AWARE = "cache_aware"


@dataclass(frozen=True, slots=True)
class WorkerAddress:
    """One worker as configured.

    Attributes:
        url: scheme, host and port, without a slash at the end.
        host: the host as the URL has it (IPv6 in brackets), which becomes `bootstrap_host`.
        bootstrap_port: a prefill worker's; None lets the workers take their own default.
    """

    url: str
    role: Role
    host: str
    bootstrap_port: int | None = None


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """When workers are polled and how many answers change their state.

    Attributes:
        startup_timeout: after it, a worker that was never healthy no longer holds back readiness.
        startup_interval: between polls while a worker starts or is suspected.
        busy_interval: between polls of a worker that has requests; the two below are for these, too.
        busy_timeout: the longest wait for their answers.
        busy_misses: that many times `busy_timeout` without any word, and the worker is taken for dead: its requests go
            elsewhere.
    """

    interval: float = 5.0
    timeout: float = 5.0
    endpoint: str = "/health"
    failure_threshold: int = 3
    success_threshold: int = 2
    startup_timeout: float = 1800.0
    startup_interval: float = 0.1
    busy_interval: float = 0.25
    busy_timeout: float = 0.9
    busy_misses: int = 2

    @property
    def longest_silence(self) -> float:
        """Seconds without a word, while it is asked, after which a worker that has requests is taken for dead."""
        return self.busy_misses * self.busy_timeout

    @property
    def stop_noticed_s(self) -> float:
        """Seconds within which a worker that has requests is given up after it stopped: 2.05 with the defaults."""
        return self.busy_interval + self.longest_silence


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """How often a request that failed is tried again, and the waits between.

    Attributes:
        max_retries: tries after the first; 0 switches retries off.
        replay: whether a stream that has begun is continued by another pair.
    """

    max_retries: int = 5
    replay: bool = True
    initial_backoff_ms: int = 50
    max_backoff_ms: int = 30_000
    multiplier: float = 1.5
    jitter: float = 0.2

    def backoff(self, retry: int, random: float) -> float:
        """Returns the seconds to wait before retry number `retry` (from 1), `random` in [0, 1) spreading them."""
        exponent = min(retry - 1, 64)
        wait_ms = min(self.initial_backoff_ms * self.multiplier**exponent, self.max_backoff_ms)
        return wait_ms * (1 + self.jitter * (2 * random - 1)) / 1000


@dataclass(frozen=True, slots=True)
class BreakerConfig:
    """When a worker on which requests fail gets none for a while.

    Attributes:
        failure_threshold: failures within `window` seconds that open its circuit.
        success_threshold: successes that close a circuit which is tried again.
        timeout: seconds that it stays open.
    """

    failure_threshold: int = 10
    success_threshold: int = 3
    timeout: float = 60.0
    window: float = 120.0
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """How the policy cache_aware weighs a cached prefix against an even load.

    Attributes:
        threshold: the share of a prompt that must have been on a worker for it to be preferred.
        balance_abs: requests between the most and the least loaded worker up to which loads count as even...
        balance_rel: ...or the ratio up to which they do.
        eviction_interval: seconds between clean-ups of what is remembered.
        max_tree_size: bytes of prompts remembered for each worker.
    """

    threshold: float = 0.3
    balance_abs: int = 64
    balance_rel: float = 1.5
    eviction_interval: float = 60.0
    max_tree_size: int = 67_108_864


@dataclass(frozen=True, slots=True)
class RouterConfig:
    """The router's whole configuration; names follow sglang_router's flags.

    Attributes:
        workers: prefill and decode workers, or unified ones; never both.
        port: 0 takes a free one.
        api_key: asked of clients and shown to workers; empty asks nothing and passes the client's key on.
        admin_api_key: the same for flush, abort and worker changes; empty falls back to `api_key`.
        allowed_hosts: names beside its address under which the router may be addressed, such as a proxy's.
        max_concurrent_requests: None has no limit.
        worker_wait: seconds that a request waits for a worker when a role has none; 0 does not wait.
        max_payload_bytes: the longest request body that is read.
        shutdown_grace: seconds that open requests may go on, when the router ends and when a worker is removed.
        prometheus_port: a second port with /metrics alone; 0 has none.
    """

    workers: tuple[WorkerAddress, ...]
    prefill_policy: PolicyName = PolicyName.POWER_OF_TWO
    decode_policy: PolicyName = PolicyName.POWER_OF_TWO
    host: str = "127.0.0.1"
    port: int = 30000
    api_key: str = ""
    admin_api_key: str = ""
    allowed_hosts: tuple[str, ...] = ()
    request_timeout: float = 1800.0
    max_concurrent_requests: int | None = None
    queue_size: int = 100
    queue_timeout: float = 60.0
    worker_wait: float = 30.0
    max_payload_bytes: int = 16 << 20
    health: HealthConfig = field(default_factory=HealthConfig)
    retry: RetryConfig = field(default_factory=RetryConfig)
    breaker: BreakerConfig = field(default_factory=BreakerConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    shutdown_grace: float = 2.0
    log_level: str = "info"
    prometheus_host: str = "127.0.0.1"
    prometheus_port: int = 0

    @property
    def disaggregated(self) -> bool:
        """True for prefill and decode workers, False for unified ones."""
        return self.workers[0].role is not Role.UNIFIED

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles that a request needs."""
        return (Role.PREFILL, Role.DECODE) if self.disaggregated else (Role.UNIFIED,)

    @property
    def is_cache_aware(self) -> bool:
        """True when a policy looks at prompts."""
        return PolicyName.CACHE_AWARE in (self.prefill_policy, self.decode_policy)

    def policy(self, role: Role) -> PolicyName:
        """The policy for workers of `role`; unified workers take decode's."""
        return self.prefill_policy if role is Role.PREFILL else self.decode_policy


def _split(flag: str, url: str) -> tuple[SplitResult, int]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError(flag, url, "not a URL with a valid host and port", _URL_REMEDY) from None
    if parts.scheme not in {"http", "https"}:
        raise ConfigError(flag, url, "neither an http nor an https URL", _URL_REMEDY)
    if not parts.hostname:
        raise ConfigError(flag, url, "no host in it", _URL_REMEDY)
    if not port:
        raise ConfigError(flag, url, "no port from 1 to 65535 in it", _URL_REMEDY)
    if any(c.isspace() or not c.isprintable() for c in url):
        raise ConfigError(flag, url, "blanks or control characters in it", _URL_REMEDY)
    return parts, port


def parse_worker_url(flag: str, url: str, role: Role, bootstrap_port: int | None = None) -> WorkerAddress:
    """Returns the address that `url`, given with `flag`, names.

    Raises:
        ConfigError: no http(s) URL of a host and a port alone.
    """
    parts, port = _split(flag, url)
    if parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc:
        raise ConfigError(flag, url, "more than scheme, host and port", _URL_REMEDY)
    name = parts.hostname or ""
    host = f"[{name}]" if ":" in name else name
    return WorkerAddress(f"{parts.scheme}://{host}:{port}", role, host, bootstrap_port)
