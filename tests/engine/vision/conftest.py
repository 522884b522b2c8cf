"""A tiny LLaVA model for the tests of images, made once."""

from __future__ import annotations

import pytest
from pdpanel.engine.config import read_environment
from pdpanel.engine.model.store import ResolvedModel, resolve_model
from pdpanel.engine.vision.checkpoint import open_vision
from pdpanel.engine.vision.shape import VisionShape
from tiny_llava import TinyLlava, write_tiny_llava


@pytest.fixture(scope="session")
def llava(tmp_path_factory: pytest.TempPathFactory) -> TinyLlava:
    return write_tiny_llava(tmp_path_factory.mktemp("llava") / "tiny-llava")


@pytest.fixture(scope="session")
def resolved(llava: TinyLlava, tmp_path_factory: pytest.TempPathFactory) -> ResolvedModel:
    """The converted model."""
    cache = tmp_path_factory.mktemp("llava-cache")
    return resolve_model(llava.folder, read_environment({"PDPANEL_CACHE_DIR": str(cache)}))


@pytest.fixture(scope="session")
def vision(resolved: ResolvedModel) -> VisionShape:
    shape = open_vision(resolved.directory)
    assert shape is not None
    return shape
