"""SGLang's two variables for the threads that write, with its defaults and its rule."""

from __future__ import annotations

import os

import pytest
from pdpanel.engine.config import read_environment
from pdpanel.engine.errors import ConfigError

QUEUES, THREADS = "SGLANG_DISAGGREGATION_QUEUE_SIZE", "SGLANG_DISAGGREGATION_THREAD_POOL_SIZE"


@pytest.mark.parametrize(("cpus", "threads"), [(None, 4), (2, 4), (79, 4), (80, 5), (128, 8), (192, 12), (512, 12)])
def test_the_default_threads_follow_the_cpus(monkeypatch: pytest.MonkeyPatch, cpus: int | None, threads: int) -> None:
    """int(0.5 * cpus) // 8, from 4 to 12 (launch-commands 4.5)."""
    monkeypatch.setattr(os, "cpu_count", lambda: cpus)
    environment = read_environment({})
    assert (environment.queue_size, environment.thread_pool_size) == (4, threads)


def test_what_is_set_counts() -> None:
    environment = read_environment({QUEUES: "1", THREADS: "3"})
    assert (environment.queue_size, environment.thread_pool_size) == (1, 3)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({QUEUES: "0"}, QUEUES),
        ({QUEUES: "-1"}, QUEUES),
        ({QUEUES: "many"}, QUEUES),
        ({QUEUES: "100000"}, QUEUES),
        ({THREADS: "2.5"}, THREADS),
        ({THREADS: "100000"}, THREADS),
        ({THREADS: "3"}, f"{THREADS}.*gives 4 queues"),
        ({QUEUES: "5", THREADS: "4"}, f"{THREADS}.*gives 5 queues.*no thread each.*set 5 to"),
    ],
)
def test_a_queue_without_a_thread_and_nonsense_are_refused_by_name(values: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        read_environment(values)
