"""Real workers and routers under attack: one pair with its router for all files."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cluster import Cluster, cluster


@pytest.fixture(scope="session")
def make_cluster(smollm2):
    """The context manager `cluster(folder, arguments, environ, prefill=, decode=, unified=)`."""
    return cluster


@pytest.fixture(scope="session")
def arguments() -> list[str]:
    """Flags of the pair's workers; plain sockets, so that the transport has a port of ours, too."""
    return ["--max-total-tokens", "1024", "--disaggregation-transfer-backend", "tcp", "--log-level", "warning"]


@pytest.fixture(scope="session")
def pair(make_cluster, arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A prefill worker, a decode worker and a router."""
    with make_cluster(tmp_path_factory.mktemp("pair"), arguments, prefill=1, decode=1) as made:
        yield made
