"""The cache of converted models: where they lie, which source each belongs to, how a missing one is made.

A converted directory is named by the sha256 of its source and the format number, and holds config.json,
tokenizer.json, tokenizer_config.json, weights.safetensors and perhaps chat_template.jinja. It appears by rename,
so what is there is complete. Conversion runs in a child process, because parsing leaves a heap that a worker must
not keep. The cached path costs a few file reads and imports neither numpy nor torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .progress import OnProgress, Progress, no_progress
from .shape import ModelShape, shape_from_json

__all__ = [
    "FORMAT",
    "ConvertedModel",
    "Fingerprint",
    "converted_directory",
    "ensure_converted",
    "find_converted",
    "fingerprint",
    "index_file",
    "open_converted",
    "remember",
    "source_files",
]

FORMAT = 3
"""Raised whenever a converted directory of before cannot be used any more."""

_SMALL_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "preprocessor_config.json",
    "processor_config.json",
)

Fingerprint = list[list[object]]
"""[name, bytes, mtime in ns, inode] of each source file; while it stays, the content is not read again."""


@dataclass(frozen=True, slots=True)
class ConvertedModel:
    """A complete converted directory, opened.

    Attributes:
        source_sha256: the sha256 of the source it was made from.
    """

    directory: Path
    shape: ModelShape
    source_sha256: str

    @property
    def weights(self) -> Path:
        """The float32 weights, in the layout of `engine.model.layout`."""
        return self.directory / "weights.safetensors"

    @property
    def tokenizer_json(self) -> Path:
        """The tokenizer, in the format of the `tokenizers` package."""
        return self.directory / "tokenizer.json"

    @property
    def chat_template(self) -> str | None:
        """The Jinja source of the chat template, None when the model has none."""
        try:
            return (self.directory / "chat_template.jinja").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None


def open_converted(directory: Path) -> ConvertedModel | None:
    """Returns the converted model in `directory`, None when it is absent, of another format or incomplete."""
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        if config["format"] != FORMAT:
            return None
        model = ConvertedModel(
            directory=directory,
            shape=shape_from_json(config["shape"]),
            source_sha256=str(config["source"]["sha256"]),
        )
        # A power cut after the rename can leave a short file behind a valid name.
        is_whole = model.weights.stat().st_size == config["weights_bytes"] and model.tokenizer_json.is_file()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return model if is_whole else None


def source_files(path: Path) -> list[Path]:
    """Returns the files of the model at `path`, a file or a Hugging Face directory, sorted by name."""
    if not path.is_dir():
        return [path]
    small = [path / name for name in _SMALL_FILES if (path / name).is_file()]
    return sorted([*small, *path.glob("*.safetensors")])


def fingerprint(path: Path) -> Fingerprint:
    """Returns what tells whether the model at `path` has changed, without reading it."""
    found = []
    for file in source_files(path):
        stat = file.stat()
        found.append([file.name, stat.st_size, stat.st_mtime_ns, stat.st_ino])
    return found


def converted_directory(cache_dir: Path, sha256: str) -> Path:
    """Returns where the conversion of a source with this sha256 belongs."""
    return cache_dir / "converted" / f"{sha256}-{FORMAT}"


def index_file(path: Path, cache_dir: Path) -> Path:
    """Returns the small file that remembers the sha256 of the source at `path`."""
    key = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:32]
    return cache_dir / "converted" / "index" / f"{key}.json"


def remember(path: Path, cache_dir: Path, found: Fingerprint, sha256: str) -> None:
    """Records that the source at `path`, whose fingerprint is `found`, has this sha256."""
    target = index_file(path, cache_dir)
    target.parent.mkdir(parents=True, exist_ok=True)
    entry = {"path": str(path.absolute()), "files": found, "sha256": sha256}
    temporary = target.with_suffix(f".tmp-{os.getpid()}")
    temporary.write_text(json.dumps(entry), encoding="utf-8")
    temporary.replace(target)


def find_converted(path: Path, cache_dir: Path) -> ConvertedModel | None:
    """Returns the conversion of the unchanged source at `path`, None when it has yet to be made.

    Raises:
        OSError: the source cannot be read.
    """
    try:
        entry = json.loads(index_file(path, cache_dir).read_text(encoding="utf-8"))
        if entry["files"] != fingerprint(path):
            return None
        sha256 = str(entry["sha256"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return open_converted(converted_directory(cache_dir, sha256))


def ensure_converted(path: Path, cache_dir: Path, on_progress: OnProgress = no_progress) -> Path:
    """Returns the converted directory of the model at `path`, converting it first when needed.

    Args:
        path: a .gguf file, or a directory with config.json, tokenizer.json and safetensors.
        cache_dir: the cache of downloads and conversions.
        on_progress: called in this thread, with the stages `wait`, `hash`, `read` and `convert`.

    Raises:
        ConfigError: the model cannot be read or is not served, or there is no space for it.
    """
    try:
        found = find_converted(path, cache_dir)
    except OSError as error:
        problem = f"it cannot be read ({error.strerror})"
        raise ConfigError("--model-path", str(path), problem, "give the path of a readable model") from None
    return found.directory if found else _convert_in_child(path, cache_dir, on_progress)


def _convert_in_child(path: Path, cache_dir: Path, on_progress: OnProgress) -> Path:
    # -P keeps the working directory off sys.path, where a stray gguf.py could lie.
    command = [sys.executable, "-P", "-m", "pdpanel.engine.model.convert", str(path), str(cache_dir)]
    directory: Path | None = None
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
        )
        try:
            for message in _messages(child):
                if "stage" in message:
                    on_progress(Progress(message["stage"], message["done"], message["total"]))
                elif "error" in message:
                    raise ConfigError(**message["error"])
                elif "directory" in message:
                    directory = Path(message["directory"])
            code = child.wait()
        finally:
            child.kill()
            child.wait()
            assert child.stdout is not None
            child.stdout.close()
        errors.seek(0)
        lines = errors.read().decode(errors="replace").strip().splitlines()
    if code or directory is None:
        reason = f"signal {-code}" if code < 0 else f"exit code {code}"
        last = f", {lines[-1].rstrip('.')}" if lines else ""
        remedy = "see that memory and disk suffice, and start again"
        raise ConfigError("--model-path", str(path), f"its conversion ended with {reason}{last}", remedy)
    return directory


def _messages(child: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """Yields the JSON lines of the child; any other line is none of ours."""
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("{"):
            yield json.loads(line)
