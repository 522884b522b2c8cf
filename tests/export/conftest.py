"""What the exported scripts' answers are compared with, and the hosts that they run on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from exported_scripts import PROMPTS, Scripts, generate
from namespaces import Hosts
from spare_ports import spare_ports


@pytest.fixture(scope="session")
def unified_answers(smollm2: object, tmp_path_factory: pytest.TempPathFactory) -> list[list[int]]:
    """What one worker that does both answers to PROMPTS, itself started by an exported script."""
    worker, router = spare_ports(2)
    fields = {"name": "whole", "unified": {"count": 1, "port": worker}, "router": {"port": router}}
    scripts = Scripts(tmp_path_factory.mktemp("unified") / "a", fields)
    scripts.call("whole", "start")
    try:
        return [generate(f"http://127.0.0.1:{router}", prompt) for prompt in PROMPTS]
    finally:
        scripts.call("whole", "stop")


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """Two hosts, a and b, and a stranger."""
    for program in ("ip", "curl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    made = Hosts()
    try:
        problem = made.make()
        if problem:
            pytest.skip(f"network namespaces cannot be made: {problem}")
        yield made
    finally:
        made.remove()
