"""The Gradio page, built in a process of its own: Gradio's import leaves warnings that are not ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """
import json, os, sys
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
from pathlib import Path
from pdpanel.panel.web.app import build_app
from simulated_source import SimulatedSource
from pdpanel.panel.web.guard import Access
import gradio as gr
seen = []
mount = gr.mount_gradio_app
def spy(app, blocks, **options):
    seen.append(blocks)
    return mount(app, blocks, **options)
gr.mount_gradio_app = spy
build_app(SimulatedSource(Path(".")), Access.for_port(7860, "t"))
(blocks,) = seen
config = blocks.get_config_file()
print(json.dumps({
    "idle_poll_s": getattr(blocks._queue, "sleep_when_free", None),
    "analytics": blocks.analytics_enabled,
    "run_history": blocks.run_history,
    "monitoring": blocks.enable_monitoring,
    "footer": config["footer_links"],
    "visibility": [one["api_visibility"] for one in config["dependencies"]],
    "backend": [one["backend_fn"] for one in config["dependencies"]],
    "tabs": [one["props"]["label"] for one in config["components"] if one["type"] == "tabitem"],
    "fonts": blocks.theme._font_css,
    "stylesheets": blocks.theme._stylesheets,
}))
"""


@pytest.fixture(scope="module")
def built() -> dict[str, Any]:
    support = Path(__file__).parents[1] / "support"
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        env=os.environ | {"PYTHONPATH": str(support)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


def test_idle_queue_is_slowed_down(built: dict[str, Any]) -> None:
    """Fails when Gradio drops the private attribute, and an idle panel costs 8 % of a core again."""
    assert built["idle_poll_s"] == 0.05


def test_gradio_keeps_and_tells_nothing(built: dict[str, Any]) -> None:
    assert built["analytics"] is False
    assert built["run_history"] is False
    assert built["monitoring"] is False
    assert built["footer"] == []


def test_no_event_runs_python_or_shows_in_an_api(built: dict[str, Any]) -> None:
    assert set(built["visibility"]) == {"private"}
    assert not any(built["backend"])


def test_tabs_in_order(built: dict[str, Any]) -> None:
    assert built["tabs"] == ["Deploy", "Try it", "Observe", "Benchmark", "Logs", "Hardware", "Plan", "Export"]


def test_fonts_are_bundled_and_whole(built: dict[str, Any]) -> None:
    css = "\n".join(built["fonts"])
    assert "IBMPlexSans-Regular" in css
    assert "IBMPlexMono-Bold" in css
    assert "SemiBold" not in css
    assert "http" not in css
    assert built["stylesheets"] == []
