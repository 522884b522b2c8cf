"""The wheel holds everything that the panel needs, and works away from the checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
import zipfile
from pathlib import Path

import pytest
from pd_http import free_port

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("engine", "nic_probe", "panel", "presets")
DATA = (".bash", ".css", ".html", ".js", ".json", ".png", ".py", ".svg", ".toml", ".txt", ".yaml")


def _run(*command: str | Path, cwd: Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: a build writes into the folder that it builds."""
    folder = tmp_path_factory.mktemp("build")
    for name in SOURCES:
        shutil.copytree(ROOT / name, folder / "src" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "src" / name)
    arguments = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", folder)
    _run(sys.executable, "-m", "pip", "wheel", *arguments, folder / "src", cwd=folder)
    (built,) = folder.glob("pdpanel-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], Path]:
    """The bin folder of an empty venv with the wheel, an environment that lends it our dependencies, and a place."""
    place = tmp_path_factory.mktemp("elsewhere")
    _run(sys.executable, "-m", "venv", "--without-pip", place / "venv", cwd=place)
    python = place / "venv" / "bin" / "python"
    arguments = ("--no-deps", "--no-index", "--quiet", "--disable-pip-version-check")
    _run(sys.executable, "-m", "pip", "--python", python, "install", *arguments, wheel, cwd=place)
    # PYTHONPATH reads no .pth files, so the checkout's own editable install stays out of sight.
    environment = {**os.environ, "PYTHONPATH": sysconfig.get_paths()["purelib"], "HOME": str(place)}
    return python.parent, environment, place


@pytest.mark.timeout(200)
def test_the_wheel_holds_every_module_and_data_file_and_nothing_else(wheel: Path) -> None:
    expected = {
        f"pdpanel/{path.relative_to(ROOT).as_posix()}"
        for name in SOURCES
        for path in (ROOT / name).rglob("*")
        if path.suffix in DATA and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        about = {name.partition(".dist-info/")[2] for name in archive.namelist()} - {""}
    assert names == expected
    assert "licenses/LICENSE" in about
    assert "pdpanel/panel/web/static/uPlot.iife.min.js" in names


@pytest.mark.timeout(200)
def test_modules_assets_and_presets_load_from_the_wheel(installed: tuple[Path, dict[str, str], Path]) -> None:
    folder, environment, place = installed
    code = """
import importlib, importlib.resources as resources, json
from pdpanel import presets
from pdpanel.nic_probe import probe_host, this_host_files
static = resources.files("pdpanel.panel.web") / "static"
print(json.dumps({
    "from": presets.__file__,
    "presets": {name: presets.load_preset(name)["name"] for name in presets.preset_names()},
    "assets": {file.name: len(file.read_bytes()) for file in static.iterdir()},
    "host": probe_host(this_host_files({}), {}).live,
}))
"""
    found = json.loads(_run(folder / "python", "-c", code, cwd=place, environment=environment))
    assert Path(found["from"]).is_relative_to(place)
    assert found["presets"] == {path.stem: path.stem for path in (ROOT / "presets").glob("*.yaml")}
    assets = {path.name: path.stat().st_size for path in (ROOT / "panel" / "web" / "static").iterdir()}
    assert found["assets"] == assets
    assert found["host"] is True


@pytest.mark.timeout(200)
def test_the_command_starts_from_the_wheel(installed: tuple[Path, dict[str, str], Path]) -> None:
    folder, environment, place = installed
    assert "Usage" in _run(folder / "pdpanel", "--help", cwd=place, environment=environment)


@pytest.mark.timeout(200)
def test_the_panel_serves_every_asset_from_the_wheel(installed: tuple[Path, dict[str, str], Path]) -> None:
    folder, environment, place = installed
    port = free_port()
    panel = subprocess.Popen(
        [folder / "pdpanel", "--no-browser", "--port", str(port)],
        cwd=place,
        env={**environment, "PDPANEL_STATE_DIR": str(place / "state")},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert panel.stdout is not None
        urls = (re.search(r"panel at (http://\S+?)/?\?token=(\S+)", line) for line in panel.stdout)
        address, token = next(found for found in urls if found).groups()
        for asset in (ROOT / "panel" / "web" / "static").iterdir():
            path = f"{address}/static-pdpanel/{asset.name}"
            request = urllib.request.Request(path, headers={"Authorization": f"Bearer {token}"})
            with urllib.request.urlopen(request, timeout=20) as answer:
                assert answer.read() == asset.read_bytes(), asset.name
    finally:
        panel.terminate()
        panel.communicate(timeout=20)
