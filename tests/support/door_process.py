"""A panel over simulated runs behind the door that the options name, as a process of its own.

Usage: door_process.py FOLDER PORT TOKEN [--unguarded] [OPTIONS of pdpanel]. `--unguarded` leaves out guard, audit and
the closing of Gradio's routes: what an attack does without them. Run as a file: it is no test and no module.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer
from pdpanel.panel import cli_access
from pdpanel.panel.config import read_config
from pdpanel.panel.web import app as web_app
from pdpanel.panel.web.serve import serve
from simulated_source import SimulatedSource


def _bare(app: Any, *rest: Any, **named: Any) -> Any:
    return app


def main(
    folder: Path,
    port: int,
    token: str,
    unguarded: bool = False,
    host: str = "127.0.0.1",
    auth: cli_access.AuthOption = None,
    tls_cert: cli_access.TlsCertOption = None,
    tls_key: cli_access.TlsKeyOption = None,
    behind_proxy: cli_access.BehindProxyOption = False,
    trusted_proxy: cli_access.TrustedProxyOption = None,
    allowed_hosts: cli_access.AllowedHostsOption = None,
    origin: cli_access.OriginOption = None,
    root_path: cli_access.RootPathOption = "",
) -> None:
    """Serves until SIGTERM."""
    if unguarded:
        web_app.Guard = web_app.AuditTrail = web_app.PageOnly = _bare  # type: ignore[assignment,misc]
    proxy, names = (behind_proxy, trusted_proxy), (allowed_hosts, origin)
    door = cli_access.open_door(host, auth, (tls_cert, tls_key), proxy, names, root_path, None)
    source = SimulatedSource(folder, "http://127.0.0.1:9", ready_after_s=0.1)
    config = read_config(state_dir=folder, config_dir=folder / "config")
    serve(config, host, port, open_browser=False, source=source, door=door, token=token or None)


if __name__ == "__main__":
    sys.argv[0] = "door_process"
    typer.run(main)
