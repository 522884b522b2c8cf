"""GET /api/runs/{id}/range: the samples of a stretch of time, for windows longer than what travels live.

Thin: `Source.range` decides the resolution. Columns rather than rows, since that is what a chart draws.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection
from dataclasses import asdict
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from fastapi.responses import Response

from ...engine.errors import ConfigError
from .number_text import rounded
from .port import SampleStretch, Source

__all__ = ["range_routes"]

_LONGEST_S = 400 * 86400.0


def _answer(found: SampleStretch, groups: Collection[str], *, with_peaks: bool = False) -> bytes:
    series = [one for one in found.series if not groups or one.group in groups]
    columns = [[rounded(values.get(one.key)) for _, values in found.rows] for one in series]
    return msgspec.json.encode(
        {
            "step_s": found.step_s,
            "series": [asdict(one) for one in series],
            "times": [round(moment, 3) for moment, _ in found.rows],
            "columns": columns,
            "peaks": [[rounded(row.get(one.key)) for row in found.peaks] for one in series] if with_peaks else [],
        }
    )


def range_routes(source: Source) -> APIRouter:
    """Returns the route."""
    routes = APIRouter(prefix="/api")

    @routes.get("/runs/{run_id}/range")
    async def stretch(
        run_id: str,
        begin: Annotated[float, Query(alias="from")],
        end: Annotated[float, Query(alias="to")],
        groups: Annotated[str, Query(max_length=1000)] = "",
        points: Annotated[int, Query(ge=2, le=5000)] = 800,
        peaks: bool = False,
    ) -> Response:
        if not (math.isfinite(begin) and math.isfinite(end) and 0 < end - begin <= _LONGEST_S):
            raise ConfigError("from", begin, f"is no time before {end:g}", "name two times in seconds since 1970")
        wanted = frozenset(group for group in groups.split(",") if group)

        def read() -> bytes:
            return _answer(source.range(run_id, begin, end, points, wanted), wanted, with_peaks=peaks)

        return Response(await asyncio.to_thread(read), media_type="application/json")

    return routes
