"""The transports, each once per module, and processes at their other end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pdpanel.engine.transfer.api import Endpoint
from transports import BACKENDS, Memory, Target, open_end


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def memory() -> Memory:
    return Memory()


@pytest.fixture(scope="module")
def endpoint(backend: str, memory: Memory) -> Iterator[Endpoint]:
    opened = open_end(backend)
    memory.register_with(opened)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def shared_target(backend: str) -> Iterator[Target]:
    process = Target(backend)
    yield process
    process.kill()


@pytest.fixture
def target(shared_target: Target) -> Target:
    """A process that the test may not harm, its memory all zeros."""
    shared_target.clear()
    return shared_target


@pytest.fixture
def victim(backend: str) -> Iterator[Target]:
    """A process of the test's own."""
    process = Target(backend)
    yield process
    process.kill()
