"""Where a notebook's page is, and how the panel must be reachable to be shown in it.

Pure but for `read_server`, which looks up the notebook server that this kernel is a child of in Jupyter's own list.
Called by `launch`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ...engine.errors import ConfigError
from ..access.door import exact_origin, is_loopback, plain_root
from ..hosted.record import Wish

__all__ = ["NotebookServer", "Place", "find_place", "read_server"]

# One page by two names: the kernel cannot know which one the person's browser uses. (CSP cannot write [::1].)
_LOOPBACK_NAMES = ("localhost", "127.0.0.1")


@dataclass(frozen=True, slots=True)
class NotebookServer:
    """A notebook server as its own file tells it.

    Attributes:
        origin: of its pages, as "http://localhost:8888".
        base_path: the prefix of its pages, with a slash at both ends.
        file: where this is written.
    """

    origin: str
    base_path: str
    file: Path


@dataclass(frozen=True, slots=True)
class Place:
    """How the panel is shown in a notebook.

    Attributes:
        wish: how it must be reachable for that; without frames it is not shown, only linked to.
        reason: how this was found, or why it was not: one sentence.
    """

    wish: Wish
    reason: str


def read_server(runtime_dir: Path, pid: int | None = None) -> NotebookServer | None:
    """Returns the notebook server that started this kernel.

    Args:
        runtime_dir: Jupyter's folder with a file `jpserver-PID.json` for each server.
        pid: of the server; this process's parent by default.
    """
    file = runtime_dir / f"jpserver-{os.getppid() if pid is None else pid}.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return _server(found, file)
    except (OSError, ValueError, KeyError, TypeError, ConfigError):
        return None


def _server(found: Mapping[str, object], file: Path) -> NotebookServer:
    parts = urlsplit(str(found["url"]))
    origin = exact_origin("origin", f"{parts.scheme}://{parts.netloc}")
    base = unquote(parts.path).strip("/")
    return NotebookServer(origin, f"/{base}/" if base else "/", file)


def find_place(server: NotebookServer | None, origin: str | None, root_path: str | None, port: int | None) -> Place:
    """Returns how to show the panel.

    Args:
        server: the notebook server, where it is known.
        origin: what the person said instead, as in the browser's address bar.
        root_path: the prefix below which a proxy of that origin shows the panel; "{port}" stands for its port.
        port: where the panel shall listen.

    Raises:
        ConfigError: the origin or the prefix is not one.
    """
    if origin is not None:
        shown, reason = exact_origin("origin", origin), "as origin= says"
    elif server is not None:
        shown, reason = server.origin, f"as {server.file.name} of the notebook server says"
    else:
        if root_path:
            raise ConfigError("root_path", root_path, "needs the address of the notebook", "give origin= as well")
        return Place(Wish(port=port), "The notebook server of this kernel is not known; give its address as origin=.")
    parts = urlsplit(shown)
    local = is_loopback((parts.hostname or "").strip("[]"))
    names = [shown]
    if local:
        tail = f":{parts.port}" if parts.port else ""
        names = [f"{parts.scheme}://{name}{tail}" for name in _LOOPBACK_NAMES]
    prefix = root_path
    if prefix is None and not local:
        # Only this host reaches the panel: the notebook server, which is on it, has to pass it on.
        prefix = f"{'/' if server is None else server.base_path}proxy/{{port}}"
    if not prefix:
        return Place(Wish(frames=tuple(names), port=port), f"Shown in {shown}, {reason}.")
    if plain_root(prefix.replace("{port}", "1")) != prefix.rstrip("/").replace("{port}", "1"):
        raise ConfigError("root_path", prefix, "is not a plain path", "write one such as /user/ann/proxy/{port}")
    prefix = prefix.rstrip("/")
    wish = Wish(origins=tuple(names), root_path=prefix, frames=tuple(names), port=port)
    return Place(wish, f"Shown in {shown}, {reason}, through jupyter-server-proxy, which must be installed there.")
