"""Starts the panel: finds a port, prints the URL with its token, and serves until it is told to stop.

Called by the CLI. Imports Gradio only after its first line is printed, since that import takes seconds.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
import sys
import threading
import webbrowser
from collections.abc import Sequence

import uvicorn

from ...engine.errors import ConfigError
from ..config import PanelConfig
from ..runs import Runs
from .guard import Access, App
from .port import Source
from .source import RunsSource

__all__ = ["DEFAULT_PORT", "find_port", "run_server", "serve"]

DEFAULT_PORT = 7860
_PORTS_TRIED = 100


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        # Only a listening socket holds its port against others that set SO_REUSEADDR.
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def find_port(host: str, port: int | None) -> socket.socket:
    """Returns a listening socket on `port`, or on the first free port from 7860 when `port` is None.

    Raises:
        ConfigError: the port is taken (the error names a free one), or the address is not one of this host.
    """
    first = DEFAULT_PORT if port is None else port
    if not 0 <= first <= 65535:
        raise ConfigError("--port", first, "is not a port", "choose one from 1024 to 65535")
    try:
        return _bind(host, first)
    except PermissionError:
        raise ConfigError("--port", first, "needs root", "choose one from 1024 to 65535") from None
    except OSError as error:
        if not _is_own_address(host):
            raise ConfigError("--host", host, "is not an address of this host", "use 127.0.0.1") from error
    for candidate in range(first + 1, min(first + _PORTS_TRIED, 65535) + 1):
        try:
            listener = _bind(host, candidate)
        except OSError:
            continue
        if port is None:
            return listener
        listener.close()
        raise ConfigError("--port", port, "is taken by another process", f"{candidate} is free")
    raise ConfigError("--port", first, "is taken, and so are the ports after it", "choose another one")


def _is_own_address(host: str) -> bool:
    try:
        _bind(host, 0).close()
    except OSError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_unspecified(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _names(host: str) -> list[str]:
    """Returns the exact host names by which a browser may call a panel that listens on `host`."""
    if _is_loopback(host):
        return []
    names = {host}
    if _is_unspecified(host):
        import psutil

        names = {socket.gethostname()} | {
            entry.address.partition("%")[0]
            for entries in psutil.net_if_addrs().values()
            for entry in entries
            if entry.family in (socket.AF_INET, socket.AF_INET6)
        }
    return sorted(f"[{name}]" if ":" in name else name for name in names)


def _silence_gradio() -> None:
    # Gradio and the Hub client read these when they are imported and have no other switch: the one place
    # outside the config modules that touches the environment, and it only writes.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def _open(url: str) -> None:
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return
    # A browser in the terminal would take it over, and could not show the panel.
    if type(browser) not in (webbrowser.GenericBrowser, webbrowser.Elinks):
        browser.open(url)


class _Server(uvicorn.Server):
    """Tells when it serves, so that the browser is not sent to a port that does not answer yet."""

    def __init__(self, config: uvicorn.Config, on_ready: threading.Event) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready.set()


def run_server(app: App, listener: socket.socket, on_ready: threading.Event) -> None:
    """Serves `app` on `listener` until SIGINT or SIGTERM."""
    config = uvicorn.Config(
        app,  # pyright: ignore[reportArgumentType] - uvicorn's ASGI types are narrower than ASGI
        log_level="warning",
        ws="websockets-sansio",
        lifespan="on",
        server_header=False,
        # A page that stays open holds its sockets; without a limit Ctrl+C would wait for it.
        timeout_graceful_shutdown=2,
    )
    _Server(config, on_ready).run([listener])


def serve(
    config: PanelConfig,
    host: str = "127.0.0.1",
    port: int | None = None,
    open_browser: bool = True,
    *,
    source: Source | None = None,
    allowed_hosts: Sequence[str] = (),
    token: str | None = None,
) -> None:
    """Serves the panel until SIGINT or SIGTERM; its runs go on afterwards.

    Args:
        config: the panel's folders.
        host: where to listen; anything but loopback is possible, with a warning.
        port: None takes 7860 or the next free port; a given port must be free.
        open_browser: opens the URL in the person's browser once the panel answers.
        source: the runs to show; the real ones of `config` by default.
        allowed_hosts: further exact host names of a proxy in front of the panel, without a port.
        token: the secret of the URL; a fresh one by default.

    Raises:
        ConfigError: the port is taken or the address is not one of this host.
    """
    listener = find_port(host, port)
    number = listener.getsockname()[1]
    print("starting the panel ...", flush=True)
    _silence_gradio()
    from .app import build_app

    access = Access.for_port(number, token or secrets.token_urlsafe(24), (*_names(host), *allowed_hosts))
    app = build_app(source or RunsSource(Runs(config)), access, config_dir=config.config_dir)
    shown = host if not _is_unspecified(host) else "127.0.0.1"
    shown = f"[{shown}]" if ":" in shown else shown
    url = f"http://{shown}:{number}/?token={access.token}"
    if not _is_loopback(host):
        print(
            f"warning: --host {host} lets other machines reach the panel, unencrypted;"
            " whoever has the URL controls it.",
            file=sys.stderr,
            flush=True,
        )
    ready = threading.Event()

    def announce() -> None:
        ready.wait()
        print(f"panel at {url}", flush=True)
        if open_browser:
            _open(url)

    threading.Thread(target=announce, name="announce", daemon=True).start()
    run_server(app, listener, ready)
