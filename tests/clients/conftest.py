"""The clients' fixtures: one pair of workers behind three routers, and openai clients of each."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from client_fleet import FRONTS, Fleet, Front, fleet

# In float32 a batch computes what each of its sequences computes alone, so texts can be compared.
ARGUMENTS = ("--max-total-tokens", "4096", "--page-size", "16", "--kv-cache-dtype", "float32")


@pytest.fixture(scope="module")
def clients_fleet(smollm2, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("clients"), ARGUMENTS) as made:
        yield made


@pytest.fixture(params=FRONTS)
def front(clients_fleet: Fleet, request: pytest.FixtureRequest) -> Iterator[Front]:
    """Each router in turn; after each test the workers must be idle again."""
    yield clients_fleet.fronts[request.param]
    clients_fleet.cluster.wait_idle()


@pytest.fixture
def client(front: Front) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{front.url}/v1", api_key="none", max_retries=0, timeout=60) as made:
        yield made


@pytest.fixture(scope="module")
def direct(clients_fleet: Fleet) -> Iterator[openai.OpenAI]:
    """A client of the unified worker, without any router."""
    url = f"{clients_fleet.worker('unified-0')}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as made:
        yield made
