"""Starts the panel: finds a port, prints the URL with its token, and serves until it is told to stop.

Called by the CLI. Imports Gradio only after its first line is printed, since that import takes seconds.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable

import uvicorn

from ...engine.errors import ConfigError
from ..access.access import Access
from ..access.door import Door, access_of, is_loopback, is_unspecified
from ..access.tls import TlsFiles
from ..audit import Audit
from ..caretaker import LOOK_S, Caretaker
from ..config import PanelConfig
from ..run_store import RunStore
from ..runner.journal import clean_line
from ..runs import Runs
from ..state_dir import claim_state_dir
from .guard import App
from .heap import share_heaps
from .patient import HEAD_BYTES, PatientProtocol
from .port import Source
from .source import RunsSource

__all__ = ["DEFAULT_PORT", "find_port", "run_server", "serve"]

DEFAULT_PORT = 7860
_PORTS_TRIED = 100
# Twenty open pages and their files; more at once are turned away with 503.
_MOST_CONNECTIONS = 500
_MOST_SOCKET_BYTES = 1 << 16


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


def run_server(app: App, listener: socket.socket, on_ready: threading.Event, tls: TlsFiles | None = None) -> None:
    """Serves `app` on `listener` until SIGINT or SIGTERM; over TLS with a certificate."""
    config = uvicorn.Config(
        app,  # pyright: ignore[reportArgumentType] - uvicorn's ASGI types are narrower than ASGI
        log_level="warning",
        http=PatientProtocol,
        h11_max_incomplete_event_size=HEAD_BYTES,
        limit_concurrency=_MOST_CONNECTIONS,
        # Forwarding headers are the guard's business.
        proxy_headers=False,
        ws="websockets-sansio",
        ws_max_size=_MOST_SOCKET_BYTES,
        ssl_certfile=None if tls is None else tls.cert,
        ssl_keyfile=None if tls is None else tls.key,
        lifespan="on",
        server_header=False,
        # A page that stays open holds its sockets; without a limit Ctrl+C would wait for it.
        timeout_graceful_shutdown=2,
    )
    _Server(config, on_ready).run([listener])


def _url(access: Access, door: Door, host: str, port: int) -> str:
    """Returns the address that a person opens."""
    shown = "127.0.0.1" if is_unspecified(host) else host
    origin = f"http{'s' if access.secure else ''}://{f'[{shown}]' if ':' in shown else shown}:{port}"
    if door.tls is not None and door.tls.names and shown not in door.tls.names:
        origin = f"https://{door.tls.names[0]}:{port}"
    if door.origins or door.hosts:
        origin = door.origins[0] if door.origins else f"http{'s' if access.secure else ''}://{door.hosts[0]}"
    return f"{origin}{access.root_path}/"


def serve(
    config: PanelConfig,
    host: str = "127.0.0.1",
    port: int | None = None,
    open_browser: bool = True,
    *,
    source: Source | None = None,
    runs: Runs | None = None,
    look_s: float = LOOK_S,
    door: Door | None = None,
    token: str | None = None,
    listener: socket.socket | None = None,
    announce: Callable[[str, Access], None] | None = None,
) -> None:
    """Serves the panel until SIGINT or SIGTERM; its runs go on afterwards.

    Args:
        config: the panel's folders.
        host: where to listen; anything but loopback needs a door with users and TLS.
        port: None takes 7860 or the next free port; a given port must be free.
        open_browser: opens the URL in the person's browser once the panel answers.
        source: what to show; the runs by default.
        runs: the runs to show and to look after; those of `config` by default.
        look_s: how often runs are looked for that have lost their runner.
        door: who may reach the panel and how; loopback and a token by default.
        token: the secret of the URL; a fresh one by default.
        listener: a listening socket, instead of one on `host` and `port`.
        announce: takes the URL once the panel answers; it is printed by default.

    Raises:
        ConfigError: the port is taken, the address is not one of this host, or the door is not enough for it.
    """
    door = door or Door()
    if not is_loopback(host) and not (door.users and door.secure):
        remedy = "add --auth and TLS files, or listen on 127.0.0.1"
        raise ConfigError("--host", host, "lets other machines reach the panel", remedy)
    share_heaps()
    claim_state_dir(config.state_dir)
    listener = listener or find_port(host, port)
    number = listener.getsockname()[1]
    print("starting the panel ...", flush=True)
    _silence_gradio()
    from .app import build_app

    secret = token or door.token or ("" if door.users else secrets.token_urlsafe(24))
    access = access_of(door, host, number, secret)
    audit = Audit(config.state_dir)
    runs = runs or Runs(config)
    caretaker = Caretaker(RunStore(config), runs.take_over, audit, lambda line: print(clean_line(line), flush=True))
    if source is None:
        # Beside the start of the page: nothing of it waits for runs that have lost their runner.
        threading.Thread(target=caretaker.keep, args=(threading.Event(), look_s), name="caretaker", daemon=True).start()
    app = build_app(source or RunsSource(runs, caretaker=caretaker), access, config_dir=config.config_dir, audit=audit)
    url = _url(access, door, host, number) + ("" if door.users else f"?token={access.token}")
    ready = threading.Event()

    def tell() -> None:
        ready.wait()
        if announce is not None:
            announce(url, access)
        else:
            print(f"panel at {url}", flush=True)
        if open_browser:
            _open(url)

    threading.Thread(target=tell, name="announce", daemon=True).start()
    run_server(app, listener, ready, door.tls)
