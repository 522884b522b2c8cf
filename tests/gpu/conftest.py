"""Whole workers on a GPU; `make test` has none, so these skip there."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def gpu() -> torch.device:
    """The GPU that the tests use."""
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU: torch.cuda.is_available() is False")
    return torch.device("cuda", 0)


@pytest.fixture(scope="session")
def make_cluster(gpu, smollm2):
    """The context manager `cluster(folder, arguments, prefill=, decode=, unified=)`."""
    from cluster import cluster

    return cluster
