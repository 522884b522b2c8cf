"""How many pages fit into a GPU that others may use, too."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.gpu.memory import GpuMemory, kv_pages

GIB = 1 << 30
PAGE = 16 * 28 * 2 * 8 * 128 * 2


def memory(**changed: int) -> GpuMemory:
    values: dict[str, Any] = {"name": "GPU", "total": 140 * GIB, "free": 137 * GIB, "own": 2 * GIB, **changed}
    return GpuMemory(**values)


def pages(of: GpuMemory, fraction: float = 0.9, copies: int = 1, **host: int) -> int:
    return kv_pages(of, fraction=fraction, page_bytes=PAGE, copies=copies, **host)


def test_the_kv_gets_the_share_without_the_weights() -> None:
    assert pages(memory()) == (126 * GIB - 2 * GIB) // PAGE


def test_staging_pages_on_the_gpu_take_half_of_it() -> None:
    assert pages(memory(), copies=2) == (126 * GIB - 2 * GIB) // (2 * PAGE)


@given(first=st.floats(0.1, 0.6), own=st.integers(GIB, 8 * GIB))
def test_two_workers_that_start_together_fit_into_one_gpu(first: float, own: int) -> None:
    """Neither has taken its KV when the other one counts."""
    second = 0.95 - first
    taken = sum(pages(memory(own=own, free=140 * GIB - 2 * own), share) * PAGE for share in (first, second))
    assert taken + 2 * own <= 0.95 * 140 * GIB + 2


def test_the_hosts_memory_bounds_staging_pages_there() -> None:
    assert pages(memory(), host_bytes=4 * GIB) == 4 * GIB // PAGE
    with pytest.raises(ConfigError, match="staging pages"):
        pages(memory(), host_bytes=PAGE)


def test_weights_that_leave_nothing_are_named() -> None:
    with pytest.raises(ConfigError) as caught:
        pages(memory(own=60 * GIB), 0.4)
    words = str(caught.value)
    assert "--mem-fraction-static" in words and "0.0 GiB" in words and "60.0 GiB of weights" in words


def test_memory_that_others_hold_is_named_with_a_share_that_fits() -> None:
    of = memory(free=40 * GIB)
    with pytest.raises(ConfigError) as caught:
        pages(of)
    assert "98.0 GiB" in str(caught.value)
    fitting = float(str(caught.value).split("use at most ")[1].split(",")[0])
    assert pages(of, fitting) > 0
