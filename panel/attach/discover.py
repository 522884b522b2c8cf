"""Asks the routers and workers of a deployment what they are, all at once and each for a few seconds at most.

What does not answer is attached all the same, if its role is known: it may come up later. Called by `start`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from ...engine.errors import ConfigError
from ..launch import Role
from .address import base_url
from .answers import Identity, ListedWorker, identity_of, listed_workers
from .fetch import Asked, Fetch
from .key_file import key_of
from .request import AttachRequest, WantedWorker

__all__ = ["Discovered", "FoundServer", "discover", "identify"]

_LISTS = ("/workers", "/list_workers", "/server_info")


@dataclass(frozen=True, slots=True)
class FoundServer:
    """A server to watch.

    Attributes:
        problem: why it did not answer; empty when it did.
    """

    url: str
    role: Role
    identity: Identity
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Discovered:
    """What there is to watch by URL.

    Attributes:
        workers: in the order in which they were named.
        notes: what the person should know, in whole sentences.
    """

    router: FoundServer | None
    workers: tuple[FoundServer, ...]
    notes: tuple[str, ...] = ()


async def discover(request: AttachRequest, fetch: Fetch) -> Discovered:
    """Returns the servers of a deployment.

    Raises:
        ConfigError: nothing of it can be watched, or a worker's role is not known.
    """
    notes: list[str] = []
    listed: tuple[ListedWorker, ...] = ()
    router = None
    if request.router:
        listed, router = await _router(request.router, fetch)
        if router.problem:
            notes.append(f"The router at {request.router} does not answer: {router.problem}.")
        elif not listed and not request.workers:
            notes.append(f"The router at {request.router} names no workers; name them to watch them too.")
    wanted = {worker.url: worker for worker in request.workers}
    for worker in listed:
        try:
            url = base_url("worker", worker.url)
        except ConfigError as error:
            notes.append(f"The router names a worker that is not watched: {error}")
            continue
        known = wanted.get(url)
        wanted[url] = WantedWorker(url, worker.role if known is None or known.role is None else known.role)
    key = key_of(request)
    if request.api_key and (unnamed := [url for url in wanted if not key.text_for(url)]):
        where = ", ".join(sorted({urlsplit(url).hostname or "" for url in unnamed})[:5])
        notes.append(
            f"The API key is not sent to {where}, which only the router names; name a worker there to send it."
        )
    found = await asyncio.gather(*(_worker(worker, fetch) for worker in wanted.values()))
    workers, unknown = _placed(found)
    if unknown:
        problem = f"does not say its role ({unknown[0].problem or 'no /server_info'})"
        raise ConfigError("worker", unknown[0].url, problem, "name it as prefill, decode or unified")
    if router is not None and router.problem and not workers and not (request.log_folder or request.logs):
        raise ConfigError("router", request.router, f"does not answer: {router.problem}", "start it, or name workers")
    return Discovered(router, workers, tuple(notes))


async def identify(url: str, fetch: Fetch) -> tuple[Identity, str]:
    """Returns what a worker says it is, and why it did not answer at all."""
    info, old, models, version = await asyncio.gather(
        *(fetch.get(url + path) for path in ("/server_info", "/get_server_info", "/v1/models", "/version"))
    )
    answers = (info, old, models, version)
    said = info.json()
    identity = identity_of(said if said is not None else old.json(), models.json(), version.json())
    problem = "" if any(answer.status for answer in answers) else info.problem
    if any(answer.status in {401, 403} for answer in answers):
        problem = "it wants an API key, or another one"
    return identity, problem


async def _router(url: str, fetch: Fetch) -> tuple[tuple[ListedWorker, ...], FoundServer]:
    *answers, models = await asyncio.gather(*(fetch.get(url + path) for path in (*_LISTS, "/v1/models")))
    listed = next((workers for answer in answers if (workers := listed_workers(answer.json()))), ())
    identity = replace(identity_of(None, models.json()), role=Role.ROUTER)
    return listed, FoundServer(url, Role.ROUTER, identity, _silence(answers))


def _silence(answers: Sequence[Asked]) -> str:
    return "" if any(answer.status for answer in answers) else answers[0].problem


async def _worker(wanted: WantedWorker, fetch: Fetch) -> tuple[WantedWorker, Identity, str]:
    return wanted, *(await identify(wanted.url, fetch))


def _placed(
    found: Sequence[tuple[WantedWorker, Identity, str]],
) -> tuple[tuple[FoundServer, ...], list[FoundServer]]:
    workers: list[FoundServer] = []
    unknown: list[FoundServer] = []
    for wanted, identity, problem in found:
        role = wanted.role or identity.role
        if role is None and identity.engine == "vllm":
            role = Role.UNIFIED
        server = FoundServer(wanted.url, role or Role.UNIFIED, identity, problem)
        (workers if role is not None else unknown).append(server)
    return tuple(workers), unknown
