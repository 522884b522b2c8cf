"""The web app manifest: what a browser reads to offer the panel as an installed app.

Every address in it is relative to it, so it holds below a proxy's prefix too. The page links it with its cookie, which
the guard asks for as for everything else.
"""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse

__all__ = ["manifest_routes"]

_SIZES = (192, 512)
_MANIFEST = {
    "id": "./",
    "name": "pdpanel",
    "short_name": "pdpanel",
    "description": "Serve LLMs with prefill and decode on separate workers",
    "start_url": "./",
    "scope": "./",
    "display": "standalone",
    "background_color": "#131a24",
    "theme_color": "#131a24",
    "icons": [
        {"src": "./static-pdpanel/mark.svg", "type": "image/svg+xml", "sizes": "any"},
        *(
            {"src": f"./static-pdpanel/icon-{size}.png", "type": "image/png", "sizes": f"{size}x{size}"}
            for size in _SIZES
        ),
    ],
}


def manifest_routes() -> APIRouter:
    """Returns the one route."""
    routes = APIRouter()

    @routes.get("/manifest.webmanifest", include_in_schema=False)
    async def manifest() -> JSONResponse:
        return JSONResponse(_MANIFEST, media_type="application/manifest+json", headers={"Cache-Control": "no-cache"})

    return routes
