"""The REST routes of ended runs.

GET /api/history answers {"runs": [...]} with the fields of `history.summary.RunSummary`; POST /api/history/remove
takes {"runs": [ids]} and answers {"runs": [ids], "freed_bytes"}. GET /api/prune shows what POST /api/prune with the
same wish would free: {"items": [{kind, name, size_bytes, why}], "size_bytes"}; with "only": [{kind, name}] the POST
frees no more than these, which is what the person has seen. Paths stay on the host.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from ..history.prune_plan import PruneKind, PrunePlan, PruneWish
from .port import Source

__all__ = ["history_routes"]

_Id = Annotated[str, Field(min_length=1, max_length=200)]
_Ids = Annotated[list[_Id], Field(max_length=1000)]


class _RemoveBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    runs: Annotated[_Ids, Field(min_length=1)]


class _Wish(BaseModel):
    model_config = ConfigDict(extra="forbid")

    days: Annotated[float | None, Field(ge=0, le=36500)] = None
    keep: Annotated[int | None, Field(ge=0, le=1_000_000)] = None
    runs: _Ids | None = None
    logs: bool = False
    samples: bool = False
    models: bool = False

    def wish(self) -> PruneWish:
        runs = None if self.runs is None else tuple(self.runs)
        return PruneWish(self.days, self.keep, runs, self.logs, self.samples, self.models)


class _Named(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: PruneKind
    name: Annotated[str, Field(max_length=1000)]


class _PruneBody(_Wish):
    only: Annotated[list[_Named], Field(max_length=100_000)] | None = None

    def chosen(self, plan: PrunePlan) -> PrunePlan:
        """Returns what of the plan the person chose."""
        if self.only is None:
            return plan
        names = {(each.kind, each.name) for each in self.only}
        return PrunePlan(tuple(item for item in plan.items if (item.kind, item.name) in names))


def _answer(plan: PrunePlan) -> dict[str, object]:
    items = [
        {"kind": str(item.kind), "name": item.name, "size_bytes": item.size_bytes, "why": item.why}
        for item in plan.items
    ]
    return {"items": items, "size_bytes": plan.size_bytes}


def history_routes(source: Source) -> APIRouter:
    """Returns the routes."""
    routes = APIRouter(prefix="/api")

    @routes.get("/history")
    async def history() -> dict[str, object]:
        return {"runs": [asdict(run) for run in await asyncio.to_thread(source.history.list)]}

    @routes.post("/history/remove")
    async def remove(body: _RemoveBody) -> dict[str, object]:
        freed = await asyncio.to_thread(source.history.remove, body.runs)
        return {"runs": body.runs, "freed_bytes": freed}

    @routes.get("/prune")
    async def planned(wish: Annotated[_Wish, Query()]) -> dict[str, object]:
        return _answer(await asyncio.to_thread(source.history.plan, wish.wish()))

    @routes.post("/prune")
    async def prune(body: _PruneBody) -> dict[str, object]:
        plan = await asyncio.to_thread(source.history.plan, body.wish())
        return _answer(await asyncio.to_thread(source.history.prune, body.chosen(plan)))

    return routes
