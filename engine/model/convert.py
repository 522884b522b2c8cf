"""Converts one model into the cache: `python -m pdpanel.engine.model.convert SOURCE CACHE_DIR`.

Runs as a child process (see `engine.model.converted`): hashes the source, takes its locks, expands one tensor
at a time in row blocks, and renames the finished directory into place. Never imports torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import ConfigError
from .converted import (
    FORMAT,
    converted_directory,
    find_converted,
    fingerprint,
    index_file,
    open_converted,
    remember,
    source_files,
)
from .disk import disk_errors, file_lock, require_space
from .layout import WeightTensor, weight_layout
from .progress import OnProgress, Progress
from .report import run_reporting
from .source import Source
from .tensorfile import file_header, write_tensors

__all__ = ["convert", "main", "write_converted"]

_HASH_BLOCK_BYTES = 4 << 20


def main(arguments: Sequence[str]) -> int:
    """Converts SOURCE into CACHE_DIR and returns the exit code."""
    if len(arguments) != 2:
        print("usage: python -m pdpanel.engine.model.convert SOURCE CACHE_DIR", file=sys.stderr)
        return 2
    path, cache_dir = (Path(argument) for argument in arguments)
    return run_reporting(lambda report: {"directory": str(convert(path, cache_dir, report))})


def convert(path: Path, cache_dir: Path, on_progress: OnProgress) -> Path:
    """Returns the converted directory of the model at `path`, making it unless another process just did.

    Raises:
        ConfigError: the model cannot be read or is not served, or the disk is full.
    """
    with (
        disk_errors(str(path)),
        file_lock(index_file(path, cache_dir).with_suffix(".lock"), on_progress),
    ):
        if found := find_converted(path, cache_dir):
            return found.directory
        before = fingerprint(path)
        sha256 = _sha256(path, on_progress)
        directory = converted_directory(cache_dir, sha256)
        with file_lock(directory.with_suffix(".lock"), on_progress):
            if open_converted(directory) is None:
                on_progress(Progress("read", 0, 0))
                write_converted(_open_source(path), directory, sha256, str(path), on_progress)
        if fingerprint(path) != before:
            problem = "it changed while it was converted"
            raise ConfigError("--model-path", str(path), problem, "start again when it is complete")
        remember(path, cache_dir, before, sha256)
        return directory


def write_converted(source: Source, directory: Path, sha256: str, value: str, on_progress: OnProgress) -> None:
    """Writes the converted model of `source` to `directory`, which appears complete or not at all.

    Args:
        source: an opened model.
        directory: the target; the caller holds its lock.
        sha256: of the source.
        value: the model as the user named it, for errors.
        on_progress: is told the bytes written.

    Raises:
        ConfigError: a tensor is missing, misshaped or of a type that is not served, or there is too little
            space.
        OSError: the disk failed.
    """
    tensors: list[WeightTensor] = []
    # Checked one by one: a damaged number of layers ends at the first layer that is missing.
    for tensor in weight_layout(source.shape):
        for part in tensor.parts:
            source.check(part)
        tensors.append(tensor)
    tokenizer = source.tokenizer_json()
    header, length = file_header((tensor.name, tensor.shape) for tensor in tensors)
    # Whatever lies here was left by a conversion that was killed, since the caller holds the lock.
    for stale in directory.parent.glob(f"{directory.name}.tmp-*"):
        shutil.rmtree(stale, ignore_errors=True)
    require_space(directory.parent, len(header) + length + len(tokenizer), field="--model-path", value=value)
    temporary = directory.with_name(f"{directory.name}.tmp-{os.getpid()}")
    temporary.mkdir()
    try:
        blocks = _blocks(source)
        with (temporary / "weights.safetensors").open("wb") as file:
            for done in write_tensors(file, header, length, blocks):
                on_progress(Progress("convert", done, length))
        if (write_beside := getattr(source, "write_beside", None)) is not None:
            write_beside(temporary)
        (temporary / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
        settings = _tokenizer_settings(source)
        (temporary / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        if source.chat_template is not None:
            (temporary / "chat_template.jinja").write_text(source.chat_template, encoding="utf-8")
        config = {
            "format": FORMAT,
            "shape": source.shape.as_json(),
            "source": {"file": Path(value).name, "sha256": sha256, **source.facts},
            "weights_bytes": len(header) + length,
        }
        (temporary / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        if directory.exists():
            shutil.rmtree(directory)
        temporary.rename(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _tokenizer_settings(source: Source) -> dict[str, object]:
    """Returns what transformers' AutoTokenizer needs beside tokenizer.json; load clients open the directory with it."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": source.shape.context_length,
        **source.special_tokens(),
    }


def _blocks(source: Source) -> Iterator[memoryview]:
    for tensor in weight_layout(source.shape):
        for part in tensor.parts:
            for rows in source.rows(part):
                yield rows.data


def _open_source(path: Path) -> Source:
    if path.is_dir():
        from .huggingface import HuggingFaceSource

        return HuggingFaceSource(path)
    from .gguf import GgufSource

    return GgufSource(path)


def _sha256(path: Path, on_progress: OnProgress) -> str:
    """Returns the sha256 of a file; of a directory, that of its files' names and contents."""
    files = source_files(path)
    total = sum(file.stat().st_size for file in files)
    digest = hashlib.sha256()
    done = 0
    for source in files:
        if path.is_dir():
            digest.update(f"{source.name}\0{source.stat().st_size}\0".encode())
        with source.open("rb") as file:
            while block := file.read(_HASH_BLOCK_BYTES):
                digest.update(block)
                done += len(block)
                on_progress(Progress("hash", done, total))
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
