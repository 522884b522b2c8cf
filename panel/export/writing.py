"""Puts the files of an export into a folder or a zip file. The only part of exports that touches the disk.

Nothing that a person has is overwritten without being asked for, and nothing is written outside of the folder, also not
through links that lie in it.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ...engine.errors import ConfigError
from .exported import ExportedFile

__all__ = ["archive", "write_archive", "write_folder"]

# The first moment that a zip file can name, so that the same files give the same bytes.
_TIME = (1980, 1, 1, 0, 0, 0)


def write_folder(files: Sequence[ExportedFile], folder: Path, *, force: bool = False) -> None:
    """Writes all files below `folder`, which is made when it is not there.

    Raises:
        ConfigError: a file is there already and differs, a path leaves the folder, or the disk refuses.
    """
    field, path = "-o", folder
    targets: list[tuple[Path, ExportedFile]] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        root = folder.resolve()
        for file in files:
            path = root.joinpath(*_parts(file.path))
            _check_inside(root, path, folder)
            if not force and (path.is_symlink() or path.exists()) and not _same(path, file):
                raise ConfigError(field, str(path), "is there already", "add --force to overwrite it, or name another")
            targets.append((path, file))
        for path, file in targets:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, _bytes(file), 0o755 if file.executable else 0o644)
    except OSError as error:
        raise ConfigError(field, str(path), error.strerror or "cannot be written", "name a folder of yours") from None


def write_archive(files: Sequence[ExportedFile], path: Path, *, force: bool = False) -> None:
    """Writes all files into a zip file at `path`.

    Raises:
        ConfigError: the file is there already, or the disk refuses.
    """
    data = archive(files)
    try:
        if not force and (path.is_symlink() or path.exists()) and not (path.is_file() and path.read_bytes() == data):
            raise ConfigError("--zip", str(path), "is there already", "add --force to overwrite it, or name another")
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, data, 0o644)
    except OSError as error:
        raise ConfigError("--zip", str(path), error.strerror or "cannot be written", "name another file") from None


def archive(files: Sequence[ExportedFile]) -> bytes:
    """Returns all files as a zip file: modes as on disk, and no time of its own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for file in files:
            entry = zipfile.ZipInfo("/".join(_parts(file.path)), _TIME)
            entry.create_system = 3  # Unix: the upper half of the attributes is the mode.
            entry.external_attr = (0o100755 if file.executable else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            made.writestr(entry, _bytes(file))
    return buffer.getvalue()


def _parts(path: str) -> tuple[str, ...]:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in path:
        raise ConfigError("files", path, "leaves the folder of the export", "use a path inside it")
    return pure.parts


def _check_inside(root: Path, path: Path, folder: Path) -> None:
    if not path.parent.resolve().is_relative_to(root):
        raise ConfigError("-o", str(folder), f"has a link at {path.parent} that leads out of it", "remove the link")


def _same(path: Path, file: ExportedFile) -> bool:
    return path.is_file() and not path.is_symlink() and path.read_bytes() == _bytes(file)


def _bytes(file: ExportedFile) -> bytes:
    return file.text.encode("utf-8", "surrogateescape")


def _write(path: Path, data: bytes, mode: int) -> None:
    """Replaces the file itself, so that a link at its place is not followed, and a reader never sees half of it."""
    spare = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)
        os.replace(spare, path)
    finally:
        spare.unlink(missing_ok=True)
