"""The router's informing routes: what the workers say of themselves, gathered or passed on from one of them.

`/server_info` has the shape of SGLang's mini load balancer (`decode` and `internal_states` lists), which its benchmark
client reads. Keys that a worker lists among its arguments are left out.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from aiohttp import web

from ..errors import CapacityError, NotFoundError, PdpanelError
from .admission import Admission
from .body import REPLAYED_FIELD
from .config import Role
from .failure import Answer, WorkerError, answer_for
from .upstream import Upstream
from .web_client import respond
from .workers import Health, NoWorkerError, Worker, WorkerTable

__all__ = ["Info"]

_TIMEOUT_S = 10.0
_ADMIN_TIMEOUT_S = 90.0
_SECRET = frozenset({"api_key", "admin_api_key"})


def _row(worker: Worker) -> dict[str, object]:
    """Returns what is told of a worker."""
    return {
        "id": worker.id,
        "url": worker.url,
        "worker_type": "regular" if worker.role is Role.UNIFIED else worker.role.value,
        "role": worker.role.value,
        "is_healthy": worker.is_healthy,
        "state": "draining" if worker.leaving else worker.health.value,
        "reason": worker.reason,
        "load": worker.active,
        "requests": worker.requests,
        "failures": worker.failures,
        "bootstrap_port": worker.address.bootstrap_port,
        "connection_mode": "http",
    }


def _document(paths: list[str]) -> dict[str, object]:
    # Imported when somebody asks: the workers' field tables bring their tokenizer along.
    from ..http.openapi import openapi_document

    return openapi_document(paths, omit=frozenset({REPLAYED_FIELD}))


def _workers_own(request: web.Request) -> str:
    return request.headers.get("Authorization", "")


class Info:
    """Answers GETs about router and workers, and the POSTs that go to every worker.

    Attributes:
        draining: whether the router is about to end.
    """

    def __init__(self, table: WorkerTable, upstream: Upstream, admission: Admission) -> None:
        self.draining = False
        self._table = table
        self._upstream = upstream
        self._admission = admission

    async def readiness(self, _: web.Request) -> web.Response:
        """200 once every role has a healthy worker (the first time: once every worker is), else 503 with a reason."""
        reason = "the router is about to end" if self.draining else self._table.unready_reason()
        workers = [{"url": w.url, "role": w.role.value, "healthy": w.is_healthy} for w in self._table.workers]
        counts = {"healthy_workers": sum(w["healthy"] is True for w in workers), "total_workers": len(workers)}
        if reason:
            body = {"status": "not ready", "reason": reason, **counts, "workers": workers}
            return web.json_response(body, status=503)
        return web.json_response({"status": "ready", **counts, "workers": workers})

    async def workers(self, _: web.Request) -> web.Response:
        """The workers with sglang_router's field names and ours."""
        rows = [_row(worker) for worker in self._table.workers]
        stats = {
            "prefill_count": len(self._table.of_role(Role.PREFILL)),
            "decode_count": len(self._table.of_role(Role.DECODE)),
            "regular_count": len(self._table.of_role(Role.UNIFIED)),
            "open_requests": self._admission.open,
            "queued_requests": self._admission.waiting,
        }
        return web.json_response({"workers": rows, "total": len(rows), "stats": stats})

    async def worker(self, request: web.Request) -> web.Response:
        """One worker, by its id or URL."""
        name = request.match_info["name"]
        if (found := self._table.find(name)) is None:
            raise NotFoundError("worker", name, "no such worker", "GET /workers lists ids and URLs")
        return web.json_response(_row(found))

    async def openapi(self, request: web.Request) -> web.Response:
        """What the router takes, as an OpenAPI document."""
        paths = [resource.canonical for resource in request.app.router.resources()]
        return web.json_response(await asyncio.to_thread(_document, paths))

    async def server_info(self, request: web.Request) -> web.Response:
        """All workers' own infos by role."""
        infos = await self._gather(request, "/server_info")
        body: dict[str, object] = {"router_manager": True, "workers_count": len(infos)}
        states: list[object] = []
        for role in dict.fromkeys(w.role for w in self._table.workers):
            found = []
            for worker, info in infos:
                if worker.role is not role:
                    continue
                fields = info if isinstance(info, dict) else {"reason": info}
                found.append({"url": worker.url, **{k: v for k, v in fields.items() if k not in _SECRET}})
                own = fields.get("internal_states")
                if role is not Role.PREFILL and isinstance(own, list):
                    states += own
            body[role.value] = found
        body["internal_states"] = states
        return web.json_response(body)

    async def loads(self, request: web.Request) -> web.Response:
        """Every worker's /get_load beside the router's own count."""
        loads = await self._gather(request, "/get_load")
        rows = [{"worker": w.url, "role": w.role.value, "active": w.active, "load": load} for w, load in loads]
        return web.json_response({"workers": rows})

    async def from_one(self, request: web.Request) -> web.Response:
        """Passes a GET on to a prefill or unified worker that answers it."""
        path = request.rel_url.raw_path.replace("/get_model_info", "/model_info")
        roles = (Role.UNIFIED, Role.PREFILL, Role.DECODE)
        known = [w for role in roles for w in self._table.of_role(role)]
        error: PdpanelError | None = None
        for worker in known:
            if worker.health in (Health.HEALTHY, Health.SUSPECTED):
                try:
                    return respond(await self._ask(worker, "GET", path, request))
                except WorkerError as caught:
                    error = caught
        if error is None:
            listed = ", ".join(f"{w.role.value} {w.url} ({w.health.value})" for w in known)
            error = NoWorkerError(f"No worker is healthy: {listed}.")
        return respond(answer_for(error))

    async def to_all(self, request: web.Request, path: str, body: bytes | None) -> tuple[list[dict[str, object]], int]:
        """Posts to every worker; returns what each one said and the worst status."""

        async def tell(worker: Worker) -> dict[str, object]:
            try:
                answer = await self._ask(worker, "POST", path, request, body=body, admin=True)
            except WorkerError as error:
                return {"url": worker.url, "role": worker.role.value, "status": 502, "reason": str(error)}
            said = answer.body.decode("utf-8", "replace")[:500]
            return {"url": worker.url, "role": worker.role.value, "status": answer.status, "answer": said}

        rows = list(await asyncio.gather(*(tell(worker) for worker in self._table.workers)))
        return rows, max((int(str(row["status"])) for row in rows), default=200)

    async def _gather(self, request: web.Request, path: str) -> Sequence[tuple[Worker, object]]:
        async def one(worker: Worker) -> tuple[Worker, object]:
            try:
                answer = await self._ask(worker, "GET", path, request)
                if answer.status != 200:
                    return worker, f"answered with status {answer.status}"
                return worker, json.loads(answer.body)
            except (WorkerError, CapacityError) as error:
                return worker, str(error)
            except ValueError:
                return worker, "answered with something that is not JSON"

        return await asyncio.gather(*(one(worker) for worker in self._table.workers))

    async def _ask(
        self,
        worker: Worker,
        method: str,
        path: str,
        request: web.Request,
        *,
        body: bytes | None = None,
        admin: bool = False,
    ) -> Answer:
        query = f"?{request.query_string}" if request.query_string else ""
        headers = self._upstream.authorization(_workers_own(request), admin=admin)
        limit_s = _ADMIN_TIMEOUT_S if admin else _TIMEOUT_S
        return await self._upstream.ask(worker, method, path + query, limit_s=limit_s, headers=headers, body=body)
