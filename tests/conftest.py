"""Fixtures that several folders share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from pdpanel.engine.config import read_environment
from pdpanel.engine.model.catalog import find_in_catalog
from pdpanel.engine.model.fetch import fetch_catalog_model
from pdpanel.engine.model.store import ResolvedModel, resolve_model

# A change is judged by examples that are the same each time; on a developer's machine they are drawn anew.
# No deadline: a busy machine makes no test fail.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile("here")
if os.environ.get("CI"):
    settings.load_profile("ci")


# Folders of tests of whole things: browsers, real engines, jobs.
WHOLE = frozenset(("browser", "clients", "export", "hostile", "judges", "notebook", "pd", "slurm"))


def pytest_configure() -> None:
    """A script's `pytest ... &` begins with SIGINT ignored, and so would every program that a test starts.

    With a function in its place this process ignores it as before, and what it starts has the system's default.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda number, frame: None)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the files whose tests may take longest, so that none of them is left alone at the end.

    These are those of the folders that start browsers and engines, then those with the highest limit; files of the
    same one stay in their drawn order.
    """
    limits: dict[Path, float] = {}
    for item in items:
        mark = item.get_closest_marker("timeout")
        limits[item.path] = max(limits.get(item.path, 0.0), float(mark.args[0]) if mark and mark.args else 0.0)
    items.sort(key=lambda item: (item.path.parent.name not in WHOLE, -limits[item.path]))


DEFAULT_MODEL = "smollm2-135m-instruct"


@pytest.fixture(autouse=True)
def the_environment_stays() -> Iterator[None]:
    """A transport opened in a test sets what its library reads (MC_TCP_BIND_ADDRESS): later tests' processes got it."""
    before = dict(os.environ)
    yield
    for name in set(os.environ) - {"PYTEST_CURRENT_TEST"} | before.keys():
        if name not in before:
            del os.environ[name]
        elif os.environ.get(name) != before[name] and name != "PYTEST_CURRENT_TEST":
            os.environ[name] = before[name]


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """The default model's GGUF file, fetched once into the user's cache."""
    entry = find_in_catalog(DEFAULT_MODEL)
    assert entry is not None
    return fetch_catalog_model(entry, read_environment().cache_dir, lambda progress: None)


@pytest.fixture(scope="session")
def smollm2(smollm2_gguf: Path) -> ResolvedModel:
    """The default model, converted."""
    return resolve_model(DEFAULT_MODEL, read_environment())
