"""The LaunchPlan of an attached run: its processes have URLs and logs, and no command.

Pure. Called by `start`; the runner, the samples and every view read it as they read any other plan.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from urllib.parse import urlsplit

from ..launch import LaunchPlan, ProcessSpec, Readiness, Role
from .discover import Discovered, FoundServer
from .log_files import LogFound

__all__ = ["AttachedPlan", "attached_plan"]

_PATIENCE_S = 3.0
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class AttachedPlan:
    """The plan, and where its logs really are.

    Attributes:
        links: by process, the file that its log is a link to.
    """

    plan: LaunchPlan
    links: dict[str, str]


def attached_plan(name: str, found: Discovered, logs: Sequence[LogFound]) -> AttachedPlan:
    """Returns the plan that watches `found` and `logs`.

    A log belongs to the worker of its role with the same place in the order of its role; one without a worker is a
    process of its own, which is known by its log alone.
    """
    servers = [*found.workers, *([found.router] if found.router else [])]
    counts: Counter[Role] = Counter()
    specs: list[ProcessSpec] = []
    links: dict[str, str] = {}
    of_role: dict[Role, list[LogFound]] = {}
    for log in logs:
        of_role.setdefault(log.role, []).append(log)
    for server in servers:
        specs.append(_served(server, _name(server.role, counts)))
        waiting = of_role.get(server.role)
        if waiting:
            links[specs[-1].name] = str(waiting.pop(0).path)
    for role in Role:
        for log in of_role.get(role, ()):
            own = _job_name(log, links) if role is Role.SUBMIT else _name(role, counts)
            spec = _logged(role, own, str(log.path.parent))
            specs.append(spec)
            links[spec.name] = str(log.path)
    # Views name the router last.
    specs.sort(key=lambda spec: spec.role is Role.ROUTER)
    said = [server.identity for server in servers]
    engines = [identity.engine for identity in said if identity.engine]
    plan = LaunchPlan(
        run_name=name,
        model=next((identity.model for identity in said if identity.model), "not known"),
        transport=next((identity.transport for identity in said if identity.transport), "not known"),
        host=_host(servers[0].url) if servers else "",
        router_url=found.router.url if found.router else next(_unified(found), ""),
        processes=tuple(specs),
        dialect=engines[0] if engines else "",
        engine_version=next((identity.version for identity in said if identity.version), ""),
        attached=True,
    )
    return AttachedPlan(plan, links)


def _unified(found: Discovered) -> Iterator[str]:
    return (server.url for server in found.workers if server.role is Role.UNIFIED)


def _name(role: Role, counts: Counter[Role]) -> str:
    number = counts[role]
    counts[role] += 1
    return role.value if role is Role.ROUTER and number == 0 else f"{role.value}-{number}"


def _job_name(log: LogFound, taken: Container[str]) -> str:
    """Returns a name of what is no process of the deployment, such as a benchmark: that of its file."""
    word = _NOT_IN_NAMES.sub("-", log.path.stem.lower()).strip("-")[:60] or "log"
    return next(name for number in count(1) if (name := word if number == 1 else f"{word}-{number}") not in taken)


def _served(server: FoundServer, name: str) -> ProcessSpec:
    parts = urlsplit(server.url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    router = server.role is Role.ROUTER
    return replace(
        _logged(server.role, name, parts.hostname or ""),
        ports={"http": port},
        ready=Readiness(f"{server.url}/health", _PATIENCE_S),
        metrics_url=f"{server.url}/metrics",
        info_url="" if router else f"{server.url}/server_info",
    )


def _logged(role: Role, name: str, node: str) -> ProcessSpec:
    return ProcessSpec(
        name=name,
        role=role,
        node=node,
        argv=(),
        env={},
        cwd="",
        ports={},
        ready=Readiness("", 0.0),
        log=f"{name}.log",
        grace_s=0.0,
    )


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""
