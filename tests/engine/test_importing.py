"""What a process imports is not looked through for garbage, neither while it is imported nor later."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from pdpanel.engine.importing import without_collection


@pytest.fixture
def collected() -> Iterator[None]:
    """Puts the collector back to where every other test expects it."""
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.usefixtures("collected")
def test_what_is_made_meanwhile_is_never_looked_at() -> None:
    with without_collection():
        assert not gc.isenabled()
        made = [[number] for number in range(10)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= len(made)
    assert not any(one is made[0] for one in gc.get_objects())


@pytest.mark.usefixtures("collected")
def test_garbage_is_looked_for_again_after_an_import_that_failed() -> None:
    with pytest.raises(ImportError), without_collection():
        raise ImportError
    assert gc.isenabled()
