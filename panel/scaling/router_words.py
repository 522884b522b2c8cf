"""What a router's command says of its workers, and whether it can be told of others while it runs. Pure.

POST and DELETE on /workers are routes of the bundled router, of sglang-router (0.3.2) and of smg; others read their
workers once, when they start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..launch import ProcessSpec, Role

__all__ = ["RouterKey", "is_told_live", "key_of", "without_workers", "worker_body", "worker_url"]

_LIVE = frozenset({"pdpanel.engine.launch_router", "sglang_router.launch_router", "smg"})
_WORKER_FLAGS = frozenset({"--prefill", "--decode", "--worker-urls"})
_TYPES = {Role.PREFILL: "prefill", Role.DECODE: "decode", Role.UNIFIED: "regular"}


@dataclass(frozen=True, slots=True)
class RouterKey:
    """The key that a router asks of whoever changes its workers; never printed."""

    text: str

    def __repr__(self) -> str:
        return "RouterKey(…)"

    def headers(self) -> Mapping[str, str]:
        """Returns the headers that show it."""
        return {"Authorization": f"Bearer {self.text}"} if self.text else {}


def is_told_live(router: ProcessSpec) -> bool:
    """Returns True for a router that takes workers while it runs."""
    return "--mini-lb" not in router.argv and any(word.rpartition("/")[2] in _LIVE for word in router.argv)


def without_workers(argv: Sequence[str]) -> tuple[str, ...]:
    """Returns the words of a router's command that name no worker."""
    left: list[str] = []
    naming = False
    for word in argv:
        if word.startswith("--"):
            naming = word in _WORKER_FLAGS
        if not naming:
            left.append(word)
    return tuple(left)


def key_of(router: ProcessSpec) -> RouterKey:
    """Returns the key for changes of workers: the administrator's where there is one."""
    for flag in ("--admin-api-key", "--api-key"):
        for place, word in enumerate(router.argv):
            if word == flag and place + 1 < len(router.argv):
                return RouterKey(router.argv[place + 1])
            if word.startswith(f"{flag}="):
                return RouterKey(word.partition("=")[2])
    return RouterKey("")


def worker_url(spec: ProcessSpec) -> str:
    """Returns how the router names a worker: scheme, host and port of its readiness."""
    scheme, _, rest = spec.ready.url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def worker_body(spec: ProcessSpec) -> dict[str, object]:
    """Returns what POST /workers takes for a worker."""
    body: dict[str, object] = {"url": worker_url(spec), "worker_type": _TYPES[spec.role]}
    if spec.role is Role.PREFILL and "bootstrap" in spec.ports:
        body["bootstrap_port"] = spec.ports["bootstrap"]
    return body
