"""`launch()`: opens the panel, shows it in the notebook's cell, and returns a handle.

The only file here that knows IPython, which need not be installed: in a plain shell the address is printed. Gradio is
never imported here; the panel is a process of its own.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import Any

from ...engine.errors import ConfigError
from ..config import PanelConfig, read_config
from ..hosted.opening import OpenPanel, open_panel
from .frame import frame_html
from .handle import NotebookPanel
from .place import Place, find_place, read_server
from .plain_errors import plain_errors

__all__ = ["launch"]

_LEAST_HEIGHT, _MOST_HEIGHT = 200, 5000


def _kernel() -> Any:
    """Returns IPython's shell when this is a notebook's kernel, else None."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell if getattr(shell, "kernel", None) is not None else None


def _runtime_dir() -> Path | None:
    try:
        from jupyter_core.paths import jupyter_runtime_dir
    except ImportError:  # a kernel without Jupyter's own packages
        return None
    return Path(jupyter_runtime_dir())


def _place(origin: str | None, root_path: str | None, port: int | None) -> Place:
    folder = _runtime_dir()
    return find_place(None if folder is None else read_server(folder), origin, root_path, port)


def _show(opened: OpenPanel, place: Place, height: int) -> None:
    from IPython.display import HTML, display

    name = f"pdpanel-{secrets.token_hex(4)}"
    frames = opened.record.frames if place.wish.frames else ()
    text = frame_html(name, opened.page_url(), opened.page_url(), frames, height=height, note=place.reason)
    display(HTML(text))


@plain_errors
def launch(
    *,
    origin: str | None = None,
    root_path: str | None = None,
    height: int = 720,
    port: int | None = None,
    state_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    config_dir: str | os.PathLike[str] | None = None,
) -> NotebookPanel:
    """Opens the panel in a process of its own, or the one that runs, and shows it in the notebook's cell.

    The panel ends with the last notebook that uses it; runs go on.

    Args:
        origin: the notebook's address where it is another than its server knows: scheme, name and port as the browser
            shows them, as "https://hub.example".
        root_path: below which prefix a proxy of that address shows the panel, as "/user/ann/proxy/{port}"; found out
            for jupyter-server-proxy.
        height: of the frame, pixels.
        port: where the panel listens on this host; any free one by default.
        state_dir: where runs are kept.
        cache_dir: where models are kept.
        config_dir: where your presets are.

    Raises:
        PdpanelError: the panel did not come up, or an argument makes no sense.
    """
    if not _LEAST_HEIGHT <= height <= _MOST_HEIGHT:
        remedy = f"choose one from {_LEAST_HEIGHT} to {_MOST_HEIGHT} pixels"
        raise ConfigError("height", height, "is not a height of a frame", remedy)
    config: PanelConfig = read_config(
        state_dir=None if state_dir is None else Path(state_dir),
        cache_dir=None if cache_dir is None else Path(cache_dir),
        config_dir=None if config_dir is None else Path(config_dir),
    )
    in_notebook = _kernel() is not None
    place = _place(origin, root_path, port) if in_notebook or origin is not None else find_place(None, None, None, port)
    opened = open_panel(config, place.wish)
    if in_notebook:
        _show(opened, place, height)
    else:
        print(f"panel at {opened.page_url()}", flush=True)
    return NotebookPanel(config, opened)
