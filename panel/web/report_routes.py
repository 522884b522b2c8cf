"""The REST routes of bug reports: what one would hold, and the zip file itself.

GET /api/runs/ID/report answers {"files": [{name, bytes, redacted: {kind: count}}], "bytes", "redacted"}; POST answers
the zip file, gathered anew.
"""

from __future__ import annotations

import asyncio
import re

from fastapi import APIRouter
from fastapi.responses import Response

from .port import Source

__all__ = ["report_routes"]

_UNSAFE = re.compile(r"[^\w.-]")


def report_routes(source: Source) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(prefix="/api/runs/{run_id}")

    @routes.get("/report")
    async def listed(run_id: str) -> dict[str, object]:
        report = await asyncio.to_thread(source.reports.report, run_id)
        return {"files": report.listing, "bytes": report.size_bytes, "redacted": report.redacted}

    @routes.post("/report")
    async def packed(run_id: str) -> Response:
        data = await asyncio.to_thread(lambda: source.reports.report(run_id).archive())
        name = f"{_UNSAFE.sub('_', run_id)}-report.zip"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
        return Response(data, media_type="application/zip", headers=headers)

    return routes
