"""HTTP in front of the bootstrap port: who may come in, and Mooncake's metadata at /metadata.

Used by `server` and by `stand_in`, which answers while the worker loads.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ..http.guard import AllowedHosts
from .metadata_store import MOST_VALUE_BYTES, MetadataStore

__all__ = ["add_metadata", "refuse_pages"]


def refuse_pages(allowed: AllowedHosts) -> Middleware:
    """Returns the layer that refuses web pages: no browser has business here, but a person's own address bar.

    A page whose name was turned to this host (DNS rebinding) gives itself away by its Host header.
    """

    @web.middleware
    async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or not allowed.accepts(hosts[0]):
            shown = ", ".join(hosts)[:80]
            message = f"Host = {shown!r}: not a name of this server; use its address, or name it in --allowed-hosts."
            return web.Response(status=421, text=message)
        if "Origin" in request.headers or request.headers.get("Sec-Fetch-Site", "none") != "none":
            return web.Response(status=403, text="Requests from web pages are refused.")
        return await handler(request)

    return refuse


def add_metadata(app: web.Application, store: MetadataStore) -> None:
    """Serves `store` as Mooncake's `http_metadata_server` serves its own."""

    async def answer(request: web.Request) -> web.Response:
        size = request.content_length or 0
        body = await request.read() if size <= MOST_VALUE_BYTES else bytes(MOST_VALUE_BYTES + 1)
        answered = store.answer(request.method, request.query.get("key", ""), body)
        return web.Response(status=answered.status, body=answered.body, content_type="application/json")

    app.router.add_route("*", "/metadata", answer)
