"""The routes for more or fewer workers of a run: what would change, and doing exactly that.

A request names a run and numbers and never carries a command; what was shown is named by its id. Called by `app`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field

from .plan_body import Body, answer, read_body
from .port import Source

__all__ = ["scale_routes"]


class _Counts(Body):
    prefill: int | None = Field(default=None, ge=0, le=512)
    decode: int | None = Field(default=None, ge=0, le=512)
    unified: int | None = Field(default=None, ge=0, le=512)

    def given(self) -> Mapping[str, int]:
        every = {"prefill": self.prefill, "decode": self.decode, "unified": self.unified}
        return {role: count for role, count in every.items() if count is not None}


class _Wish(_Counts):
    shown: str = Field(min_length=1, max_length=128)


def scale_routes(source: Source, wake: Callable[[], None]) -> APIRouter:
    """Returns the routes; `wake` makes the page look at the runs at once."""
    routes = APIRouter(prefix="/api/runs/{run_id}")

    @routes.post("/scale/preview")
    async def preview(run_id: str, request: Request) -> Response:
        """Show what another number of workers would change of a run; nothing happens."""
        body = await read_body(request, _Counts)
        return await answer(lambda: source.scaling.preview(run_id, body.given()))

    @routes.post("/scale")
    async def scale(run_id: str, request: Request) -> Response:
        """Add or remove workers of a run as a preview has shown; answers when all of it is done."""
        body = await read_body(request, _Wish)

        def work() -> dict[str, str]:
            source.scaling.apply(run_id, body.given(), body.shown)
            return {"run": run_id}

        response = await answer(work)
        wake()
        return response

    return routes
