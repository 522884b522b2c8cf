"""A proxy as a program of its own: the text of proxy_server.py with a plan's addresses, and the process that runs it.

The program is a file beside this module that runs with Python alone. Used where the workers pass KV on by themselves
and need a proxy that sends a request to prefill, then to decode: the V0 demo, and LMCache.
"""

from __future__ import annotations

from importlib.resources import files

from ...engine.errors import ConfigError
from ..launch import PlannedFile, ProcessSpec, Readiness, Role
from .placement import Placed, PlacedRouter, Placement, url
from .smoke_request import asked_host

__all__ = ["PROGRAM", "proxy_file", "proxy_process"]

PROGRAM = "proxy_server.py"
_PATH = "/v1/completions"
_READY_TIMEOUT_S = 900.0


def proxy_file(placement: Placement, router: PlacedRouter) -> PlannedFile:
    """Returns the program with the addresses of the plan's workers."""
    text = files(__package__ or "").joinpath("programs", PROGRAM).read_text("utf-8")
    for name, value in (
        ("PREFILL: list[str]", _bases(placement, router, Role.PREFILL)),
        ("DECODE: list[str]", _bases(placement, router, Role.DECODE)),
        ("LISTEN: list[Any]", [router.listen, router.port]),
    ):
        start = text.index(f"\n{name} = ") + 1
        # Escaped, so that the text stays ASCII.
        text = text[:start] + f"{name} = {value!a}" + text[text.index("\n", start) :]
    return PlannedFile(PROGRAM, text, router.node, program=True)


def proxy_process(placement: Placement, router: PlacedRouter) -> ProcessSpec:
    """Returns the process; `targets` says whom it asks and where it listens.

    Raises:
        ConfigError: options are given, and it has none.
    """
    own = placement.deployment.router.flags
    if own:
        raise ConfigError("router.flags", ", ".join(own), f"mean nothing to {PROGRAM}", "leave them out")
    listen = f"[{router.listen}]" if ":" in router.listen else router.listen
    return ProcessSpec(
        name="router",
        role=Role.PROXY,
        node=router.node or placement.local_name,
        argv=("python3", PROGRAM),
        env={},
        cwd="",
        ports={"http": router.port},
        ready=Readiness(
            url(asked_host(router.listen), router.port, "/health"),
            placement.deployment.limits.ready_timeout_s or _READY_TIMEOUT_S,
        ),
        log="router.log",
        after=placement.answering(),
        targets={
            "prefill": ",".join(base + _PATH for base in _bases(placement, router, Role.PREFILL)),
            "decode": ",".join(base + _PATH for base in _bases(placement, router, Role.DECODE)),
            "listen": f"{listen}:{router.port}",
        },
    )


def _bases(placement: Placement, router: PlacedRouter, role: Role) -> list[str]:
    return [_base(worker, router) for worker in placement.first_ranks(role)]


def _base(worker: Placed, router: PlacedRouter) -> str:
    """Returns where the proxy reaches a worker: by localhost on its own node, where a worker hears all addresses."""
    same = worker.node == router.node and (worker.node or worker.address == "127.0.0.1")
    return url("localhost" if same and ":" not in worker.address else worker.address, worker.port)
