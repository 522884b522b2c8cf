"""What a person wants to watch: URLs, logs, a key. Checked when it is made, so that later steps need not ask again.

Pure. Made by the command line and the REST route, read by `discover` and `plan`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from ...engine.errors import ConfigError
from ..launch import Role
from .address import base_url

__all__ = ["AttachRequest", "WantedWorker"]

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_MOST = 256


@dataclass(frozen=True, slots=True)
class WantedWorker:
    """A worker by its URL; its role is None where the worker itself is to tell it."""

    url: str
    role: Role | None = None


@dataclass(frozen=True, slots=True)
class AttachRequest:
    """A deployment to watch.

    Attributes:
        name: of the run.
        router: URL of the router; empty without one.
        workers: the workers, beside those that the router names.
        api_key: for servers that want one; never shown.
        log_folder: a folder of logs; empty for none.
        logs: single logs.

    Raises:
        ConfigError: a part of it cannot be watched, or there is nothing to watch.
    """

    name: str = "attached"
    router: str = ""
    workers: tuple[WantedWorker, ...] = ()
    api_key: str = field(default="", repr=False)
    log_folder: str = ""
    logs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError("name", self.name, "is not a name", "use a-z, 0-9 and -, at most 63 characters")
        if not (self.router or self.workers or self.log_folder or self.logs):
            raise ConfigError("attach", None, "names nothing", "name a router, a worker, a folder of logs or a log")
        if len(self.workers) > _MOST or len(self.logs) > _MOST:
            raise ConfigError("attach", max(len(self.workers), len(self.logs)), "is too many", f"name at most {_MOST}")
        if self.api_key and not (self.api_key.isascii() and self.api_key.isprintable() and len(self.api_key) <= 1000):
            raise ConfigError("api key", "(not shown)", "has characters that no header can hold", "give the key alone")
        object.__setattr__(self, "router", base_url("router", self.router) if self.router else "")
        known: dict[str, WantedWorker] = {}
        for worker in self.workers:
            clean = replace(worker, url=base_url(str(worker.role or "worker"), worker.url))
            known.setdefault(clean.url, clean)
        object.__setattr__(self, "workers", tuple(known.values()))
