"""Limits and timeouts of SGLang's KV transfer as variables, each on the role that reads it.

Pure. Refuses what the server would refuse at its start. Called by `sglang_worker`.
"""

from __future__ import annotations

from ...engine.errors import ConfigError
from ..deployment_parts import LimitsSpec
from ..launch import Role

__all__ = ["DEFAULT_QUEUES", "check_limits", "limit_env"]

DEFAULT_QUEUES = 4
_MOST_DEFAULT_THREADS = 12
_PREFIX = "SGLANG_DISAGGREGATION_"
_BY_ROLE = {
    Role.PREFILL: (
        ("THREAD_POOL_SIZE", "thread_pool"),
        ("QUEUE_SIZE", "queue_size"),
        ("BOOTSTRAP_TIMEOUT", "bootstrap_timeout_s"),
    ),
    Role.DECODE: (
        ("WAITING_TIMEOUT", "waiting_timeout_s"),
        ("HEARTBEAT_INTERVAL", "heartbeat_interval_s"),
        ("HEARTBEAT_MAX_FAILURE", "heartbeat_max_failure"),
    ),
}


def check_limits(limits: LimitsSpec) -> None:
    """Raises ConfigError where prefill would end at its start, or read another number than the deployment says."""
    pool, queues = limits.thread_pool, limits.queue_size or DEFAULT_QUEUES
    if pool is not None and pool < queues:
        remedy = f"write {queues} or more, or a queue_size of at most {pool}"
        raise ConfigError(
            "limits.thread_pool", pool, f"is less than the {queues} queues that the threads serve", remedy
        )
    if pool is None and queues > _MOST_DEFAULT_THREADS:
        problem = f"is more than the {_MOST_DEFAULT_THREADS} threads that SGLang starts at most by itself"
        raise ConfigError("limits.queue_size", queues, problem, f"write limits.thread_pool: {queues}")
    for name in ("bootstrap_timeout_s", "waiting_timeout_s"):
        value = getattr(limits, name)
        if value is not None and value != int(value):
            raise ConfigError(f"limits.{name}", value, "is not a whole number of seconds", "write whole seconds")


def limit_env(limits: LimitsSpec, role: Role) -> dict[str, str]:
    """Returns the variables that a worker of `role` reads."""
    env: dict[str, str] = {}
    for variable, name in _BY_ROLE.get(role, ()):
        value = getattr(limits, name)
        if value is not None:
            env[_PREFIX + variable] = str(int(value)) if value == int(value) else str(value)
    return env
