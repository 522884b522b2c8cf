"""The REST routes of the Logs tab: windows of a log, search, a time's place, and the file as it is.

Each answer is bounded in time and size, whatever the file's length; a search that is not over says where to go on.
A log is named by run and process, never by a path. The guard has already checked who asks. Called by `app`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, StreamingResponse

from ..logs.log_file import LogFile, open_log
from ..logs.marks import Marks
from ..logs.query import Query as LogQuery
from ..logs.regex_child import search_expression
from ..logs.rows import begin_of, next_begin, rows_after, rows_around, rows_before
from ..logs.scan import Bounds, scan
from ..logs.seek import place_of_time
from .log_port import LEVELS, rows_json, window_json
from .port import Source

__all__ = ["log_routes"]

T = TypeVar("T")
Place = Annotated[int, Query(ge=0, le=1 << 62)]
LevelName = Literal["all", "info", "warning", "error"]
_CHUNK = 1 << 20
_NO_STORE = {"Cache-Control": "no-store"}
# Hits are jumped to, so that their places do; rows of a filter are shown.
_HITS = Bounds(hits=2000, text_bytes=64 << 20)
_ROWS = Bounds(hits=200, text_bytes=128 << 10)


def log_routes(source: Source, marks: Marks) -> APIRouter:
    """Returns the routes; `marks` is shared with the log socket."""
    routes = APIRouter(prefix="/api/runs/{run_id}/logs/{name}")

    async def answer(run_id: str, name: str, work: Callable[[LogFile], dict[str, Any]]) -> JSONResponse:
        def read() -> dict[str, Any]:
            with open_log(source.log_path(run_id, name)) as file:
                return work(file)

        return JSONResponse(await asyncio.to_thread(read), headers=_NO_STORE)

    @routes.get("/rows")
    async def rows(run_id: str, name: str, at: Place, side: Literal["before", "after", "around"]) -> JSONResponse:
        reader = {"before": rows_before, "after": rows_after, "around": rows_around}[side]

        def work(file: LogFile) -> dict[str, Any]:
            window = reader(file, at)
            found = marks.between(file, window.start, window.end) if window.rows else []
            return window_json(window, found, file.id)

        return await answer(run_id, name, work)

    @routes.get("/search")
    async def search(
        run_id: str,
        name: str,
        at: Place,
        text: str = "",
        regex: bool = False,
        case: bool = False,
        level: LevelName = "all",
        backward: bool = False,
        show: bool = False,
        most: Annotated[int, Query(ge=1, le=2000)] = 2000,
    ) -> JSONResponse:
        query = LogQuery(text, regex, case, LEVELS[level])
        wide = _ROWS if show else _HITS
        bounds = Bounds(min(most, wide.hits), wide.seconds, wide.bytes, wide.text_bytes)

        def work(file: LogFile) -> dict[str, Any]:
            # A place inside a line stands for the next one downwards, so that nobody finds the same line again.
            size = file.size
            place = size if at >= size else begin_of(file, at) if backward else next_begin(file, at)
            if text and regex:
                found = search_expression(file, query, place, backward=backward, bounds=bounds)
            else:
                found = scan(file, query, place, backward=backward, bounds=bounds)
            told: dict[str, Any] = {"log": str(file.id), "at": found.at, "done": found.done, "size": found.size}
            if not show:
                return {**told, "hits": [row.at for row in found.rows]}
            explained = [mark for row in found.rows for mark in marks.between(file, row.at, row.at + 1)]
            return {**told, **rows_json(found.rows, explained)}

        return await answer(run_id, name, work)

    @routes.get("/time")
    async def time(run_id: str, name: str, text: Annotated[str, Query(max_length=80)]) -> JSONResponse:
        return await answer(run_id, name, lambda file: {"at": place_of_time(file, text), "log": str(file.id)})

    @routes.get("/file")
    async def download(run_id: str, name: str) -> StreamingResponse:
        def opened() -> tuple[LogFile, int]:
            file = open_log(source.log_path(run_id, name))
            return file, file.size

        file, size = await asyncio.to_thread(opened)
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{run_id}-{name}")
        headers = {**_NO_STORE, "Content-Disposition": f'attachment; filename="{safe}.log"'}
        return StreamingResponse(_bytes_of(file, size), media_type="text/plain; charset=utf-8", headers=headers)

    return routes


def _bytes_of(file: LogFile, size: int) -> Iterator[bytes]:
    """Yields what stood in the file when it was asked for; one that is cut meanwhile ends earlier."""
    with file:
        at = 0
        while at < size and (data := file.read(at, min(size, at + _CHUNK))):
            yield data
            at += len(data)
