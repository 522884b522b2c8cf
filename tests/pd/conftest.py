"""Whole deployments of real processes."""

from __future__ import annotations

import pytest
from cluster import cluster


@pytest.fixture(scope="session")
def make_cluster(smollm2):
    """The context manager `cluster(folder, arguments, prefill=, decode=, unified=)`."""
    return cluster
