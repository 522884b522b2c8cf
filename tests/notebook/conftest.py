"""A real JupyterLab on a folder of its own that asks nothing of the outside, and Chromium to open it in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from pd_http import free_port
from playwright.sync_api import Browser, sync_playwright

TOKEN = "notebook-test-token"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@dataclass(frozen=True)
class Lab:
    """One JupyterLab server."""

    folder: Path
    port: int

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    @property
    def state_dir(self) -> Path:
        """Where its kernels keep runs."""
        return self.folder / "state"

    def notebook(self, name: str, cells: Sequence[str]) -> str:
        """Writes a notebook and returns its address."""
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
        made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(made, self.folder / "work" / name)
        # In a workspace of its own, which restores no other notebook.
        return f"http://{self.host}/lab/workspaces/{name.partition('.')[0]}/tree/{name}?token={TOKEN}"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    for name in ("work", "config/labconfig", "data", "runtime", "settings", "workspaces", "ipython"):
        (folder / name).mkdir(parents=True)
    port = free_port()
    settings = {
        "ServerApp": {
            "ip": "127.0.0.1",
            "port": port,
            "port_retries": 0,
            "open_browser": False,
            "allow_root": True,
            "root_dir": str(folder / "work"),
        },
        "IdentityProvider": {"token": TOKEN},
        "LabApp": {
            "news_url": None,
            "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
            "extension_manager": "readonly",
        },
    }
    (folder / "config" / "jupyter_server_config.json").write_text(json.dumps(settings))
    off = {
        "@jupyterlab/apputils-extension:announcements": True,
        "@jupyterlab/extensionmanager-extension": True,
        "@jupyterlab/lsp-extension": True,
    }
    (folder / "config" / "labconfig" / "page_config.json").write_text(json.dumps({"disabledExtensions": off}))
    variables = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
        "PDPANEL_STATE_DIR": "state",
    }
    log = folder / "lab.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "jupyterlab"],
            cwd=folder,
            env=os.environ | {name: str(folder / value) for name, value in variables.items()},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 60
        while not _answers(port):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield Lab(folder, port)
    finally:
        process.terminate()
        process.wait(20)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Chromium for one module: while Playwright lives, no other test of the session could call asyncio.run."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
