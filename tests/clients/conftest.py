"""The clients' fixtures: one pair of workers behind three routers, and openai clients of each."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from client_fleet import FRONTS, Fleet, Front, fleet

# Small batches and short outputs compute token for token what they compute alone; docs/architecture.md has the reason.
ARGUMENTS = ("--max-total-tokens", "4096", "--page-size", "16", "--chunked-prefill-size", "128")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test waits until eight processes run."""
    for item in items:
        if "clients_fleet" in getattr(item, "fixturenames", ()) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(180))


@pytest.fixture(scope="session")
def clients_fleet(smollm2, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("clients"), ARGUMENTS) as made:
        yield made


@pytest.fixture(params=FRONTS)
def front(clients_fleet: Fleet, request: pytest.FixtureRequest) -> Iterator[Front]:
    """Each router in turn; after each test the pair must be idle again."""
    yield clients_fleet.fronts[request.param]
    clients_fleet.cluster.wait_idle()


@pytest.fixture
def client(front: Front) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{front.url}/v1", api_key="none", max_retries=0, timeout=60) as made:
        yield made


@pytest.fixture
def direct(clients_fleet: Fleet) -> Iterator[openai.OpenAI]:
    """A client of the unified worker, without any router."""
    url = f"{clients_fleet.worker('unified-0')}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as made:
        yield made
