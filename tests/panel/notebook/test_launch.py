"""`launch` by its name, its arguments, and in a plain shell; the notebook itself is in tests/notebook."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.notebook.launch import launch

NAMES = """
import sys
import pdpanel.panel
assert len([name for name in sys.modules if name.startswith("pdpanel.panel")]) == 1
import pdpanel.panel.launch
from pdpanel.panel.launch import LaunchPlan
import pdpanel.panel.runs
from pdpanel.panel import launch
assert callable(launch) and launch.__name__ == "launch", launch
assert LaunchPlan.__module__ == "pdpanel.panel.launch"
assert not {"gradio", "torch", "fastapi", "IPython"} & set(sys.modules)
"""


def test_the_name_is_the_function_whatever_was_imported_before() -> None:
    subprocess.run([sys.executable, "-c", NAMES], check=True, timeout=50)


@pytest.mark.parametrize("height", [0, 199, 5001])
def test_a_height_that_shows_nothing_is_one_sentence(tmp_path: Path, height: int) -> None:
    with pytest.raises(ConfigError, match="height"):
        launch(height=height, state_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_origin_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"origin = 'hub\.example'"):
        launch(origin="hub.example", state_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []
