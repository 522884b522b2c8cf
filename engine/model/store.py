"""From what a person writes after --model-path to a local, converted model.

Owns what that text can be: a path, a name of the catalogue, a model of random weights, or a hub id. Imports neither
torch nor numpy, so that the panel can prepare a model before any worker starts.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..config import Environment
from ..errors import ConfigError
from .catalog import CATALOG, find_in_catalog
from .converted import ensure_converted, open_converted
from .fetch import fetch_catalog_model
from .hub import fetch_snapshot
from .progress import OnProgress, no_progress
from .random_models import make_random_model, random_name
from .shape import ModelShape

__all__ = ["ResolvedModel", "resolve_model"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model that is ready to load.

    Attributes:
        directory: the converted directory, as `engine.model.weights.load_weights` takes it.
        source: the local file or directory it was made from, or its hub id.
        name: under which it is served unless the person gives another.
        chat_template: Jinja source, None when the model has none.
        model_sha: sha256 of the source: two workers serve the same model exactly when it is equal.
    """

    directory: Path
    source: Path | str
    name: str
    shape: ModelShape
    tokenizer_json: Path
    chat_template: str | None
    model_sha: str


def resolve_model(
    model_path: str | Path, environment: Environment, on_progress: OnProgress = no_progress
) -> ResolvedModel:
    """Returns the model that `model_path` names, fetching and converting it first when needed.

    Args:
        model_path: a .gguf file, a model directory, a catalogue name, `random:NAME` or a hub id; an existing path
            wins.
        environment: cache directory and hub settings.
        on_progress: called in this thread.

    Raises:
        ConfigError: nothing has that name, or it cannot be fetched, read or served.
    """
    text = str(model_path)
    # os.path answers False for whatever cannot be a path, where Path.exists raises.
    path = os.path.expanduser(text)
    if text and os.path.exists(path):
        local = _model_in(Path(path))
        return _converted(
            local, local, local.stem if local.is_file() else local.resolve().name, environment, on_progress
        )
    if (name := random_name(text)) is not None:
        folder = make_random_model(name, environment.cache_dir, on_progress)
        return _converted(folder, folder, text, environment, on_progress)
    if entry := find_in_catalog(text):
        file = fetch_catalog_model(entry, environment.cache_dir, on_progress)
        return _converted(file, file, entry.name, environment, on_progress)
    if _HUB_ID.fullmatch(text) and not text.endswith(".gguf"):
        snapshot = fetch_snapshot(text, environment, on_progress)
        return _converted(snapshot, text, text, environment, on_progress)
    names = ", ".join(model.name for model in CATALOG)
    remedy = f"give a .gguf file, a model directory, a hub id (owner/name) or a name of the catalogue ({names})"
    raise ConfigError("--model-path", text, "there is no such file, directory or model", remedy)


def _model_in(path: Path) -> Path:
    """Returns the file or directory to convert; a directory with but one .gguf file stands for that file."""
    if path.is_file() or (path / "config.json").is_file():
        return path
    files = sorted(path.glob("*.gguf"))
    if len(files) == 1:
        return files[0]
    problem = f"the directory holds {len(files)} .gguf files" if files else "the directory holds no model"
    remedy = (
        "give the path of one .gguf file" if files else "give one with config.json and safetensors, or a .gguf file"
    )
    raise ConfigError("--model-path", str(path), problem, remedy)


def _converted(
    path: Path, source: Path | str, name: str, environment: Environment, on_progress: OnProgress
) -> ResolvedModel:
    model = open_converted(path) if path.is_dir() else None
    if model is None:
        directory = ensure_converted(path, environment.cache_dir, on_progress)
        model = open_converted(directory)
        if model is None:
            problem = f"its conversion in {directory} vanished or was damaged"
            raise ConfigError("--model-path", str(path), problem, "start again")
    return ResolvedModel(
        directory=model.directory,
        source=source,
        name=name,
        shape=model.shape,
        tokenizer_json=model.tokenizer_json,
        chat_template=model.chat_template,
        model_sha=model.source_sha256,
    )
