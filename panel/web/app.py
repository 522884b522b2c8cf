"""The panel's ASGI application: our routes first, Gradio's page at "/", the guard around both.

Gradio takes seconds to import, so only `build_app` does it; `build_api` is everything but the page.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
from fastapi import FastAPI
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from ..access.access import Access
from ..audit import Audit
from ..logs.marks import Marks
from .api import add_error_answers, api_routes
from .api_docs import docs_routes
from .attach_routes import attach_routes
from .audit_trail import AuditTrail
from .bench_routes import bench_routes
from .deploy_routes import deploy_routes
from .early_script import EarlyScript
from .guard import App, Guard
from .hardware_routes import hardware_routes
from .history_routes import history_routes
from .hub import Hub
from .live import live_routes
from .log_live import log_live_routes
from .log_routes import log_routes
from .manifest_routes import manifest_routes
from .metrics_routes import metrics_routes
from .page_only import PageOnly
from .plan_actions import action_routes
from .plan_routes import plan_routes
from .port import Source
from .profile_routes import profile_routes
from .proof_routes import proof_routes
from .range_routes import range_routes
from .ranks_routes import ranks_routes
from .report_routes import report_routes
from .scale_routes import scale_routes
from .sign_in_trail import SignInTrail
from .simulate_routes import simulate_routes
from .verdict_routes import verdict_routes

__all__ = ["build_api", "build_app"]

_STATIC = Path(__file__).parent / "static"
# Gradio's queue asks for work every millisecond, which costs an idle panel 8 % of a core; our page queues
# nothing.
_IDLE_POLL_S = 0.05
# A stop waits until its processes ended, so several may wait at once beside the poller and the log readers.
_THREADS = 32


class _StaticFiles(StaticFiles):
    """Files that a browser asks for again after an update of the package."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def build_api(source: Source, *, poll_s: float = 0.5, config_dir: Path | None = None) -> FastAPI:
    """Returns the application with REST, WebSockets and files, but without page and guard."""
    hub = Hub(source, poll_s)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        threads = ThreadPoolExecutor(_THREADS, "panel")
        asyncio.get_running_loop().set_default_executor(threads)
        poller = asyncio.create_task(hub.run(), name="hub")
        # The first question starts the sampling of the host, which goes on whether or not a browser looks.
        await asyncio.to_thread(source.host_traffic)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=300)
        # Proxies of the environment are for the way out, not for a router on this host.
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
            app.state.http = session
            try:
                yield
            finally:
                poller.cancel()
                await asyncio.gather(poller, return_exceptions=True)
                await asyncio.to_thread(source.close)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    add_error_answers(app)
    app.include_router(api_routes(source, hub))
    app.include_router(hardware_routes(source))
    app.include_router(bench_routes(source))
    app.include_router(plan_routes(source, config_dir))
    app.include_router(action_routes(source, hub.wake))
    app.include_router(profile_routes(source))
    app.include_router(ranks_routes(source))
    app.include_router(proof_routes(source))  # these two before the routes of any action on a run
    app.include_router(report_routes(source))
    app.include_router(simulate_routes(source))
    app.include_router(verdict_routes(source))
    app.include_router(scale_routes(source, hub.wake))  # before the routes of any action, too
    app.include_router(deploy_routes(source, hub.wake))
    app.include_router(history_routes(source))
    app.include_router(attach_routes(source.attach, hub.wake))
    app.include_router(metrics_routes(source, lambda: hub.listening))
    app.include_router(range_routes(source))
    app.include_router(live_routes(hub))
    marks = Marks()
    app.include_router(log_routes(source, marks))
    app.include_router(log_live_routes(source, marks))
    app.include_router(docs_routes(app))
    app.include_router(manifest_routes())
    app.mount("/static-pdpanel", _StaticFiles(directory=_STATIC), name="static-pdpanel")
    return app


def build_app(
    source: Source,
    access: Access,
    *,
    poll_s: float = 0.5,
    config_dir: Path | None = None,
    audit: Audit | None = None,
) -> Guard:
    """Returns the guarded application with its page.

    Args:
        source: the runs of this host.
        access: who may talk to the panel.
        poll_s: how often the runs are looked at while a browser listens.
        config_dir: where the person's own presets are; None keeps none.
        audit: where actions are noted; None notes none.
    """
    import gradio as gr

    from .layout import HEAD, build_blocks
    from .theme import panel_theme

    app = build_api(source, poll_s=poll_s, config_dir=config_dir)
    blocks = build_blocks(source.choices)
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        theme=panel_theme(),
        head=HEAD,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        show_error=False,
        root_path=access.root_path,
    )
    # The mount is the last route: what our own routes do not serve ends there.
    mount = app.router.routes[-1]
    assert isinstance(mount, Mount)
    mount.app = PageOnly(EarlyScript(mount.app, "./static-pdpanel/frames.js"))
    # A private attribute: a test tells when it is gone, and the panel works without it.
    if hasattr(blocks._queue, "sleep_when_free"):
        blocks._queue.sleep_when_free = _IDLE_POLL_S
    inner: App = app  # pyright: ignore[reportAssignmentType] - FastAPI's ASGI types are narrower than ASGI
    trail = SignInTrail(audit, access.users.hashes)
    return Guard(inner if audit is None else AuditTrail(inner, audit), access, trail=trail)
