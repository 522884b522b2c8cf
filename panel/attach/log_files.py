"""Which process a log file belongs to, by its name, and which files of a folder are logs: MAD's layout and the like.

Reads names alone, and says where each file really is, so that a link made of it leads nowhere else. Called by `plan`
and `start`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...engine.errors import ConfigError
from ..launch import Role

__all__ = ["LogFound", "find_logs", "role_of_log"]

_MOST = 200
_SUFFIXES = (".log", ".out", ".err", ".txt")
_NODE = re.compile(r"_NODE(\d{1,5})\b")
_REMEDY = "name a file that this user can read, by its absolute path"
# The first word that a name holds decides. MAD: prefill_NODE0.log, decode_NODE1.log, etcd_NODE0.log, proxy_NODE0.log,
# and of the benchmark NAME_CONCURRENCY.log and pd_sglang_bench_serving.sh_NODE0.log.
_WORDS = (
    (re.compile(r"concurrency|bench|slurm", re.IGNORECASE), Role.SUBMIT),
    (re.compile(r"prefill|producer", re.IGNORECASE), Role.PREFILL),
    (re.compile(r"decode|consumer", re.IGNORECASE), Role.DECODE),
    (re.compile(r"etcd|metadata", re.IGNORECASE), Role.METADATA),
    (re.compile(r"master|store", re.IGNORECASE), Role.STORE),
    (re.compile(r"router|gateway|\blb\b|mini_lb", re.IGNORECASE), Role.ROUTER),
    (re.compile(r"proxy", re.IGNORECASE), Role.PROXY),
    (re.compile(r"encode", re.IGNORECASE), Role.ENCODER),
    (re.compile(r"unified|server?\b|serving|worker|engine|vllm|sglang", re.IGNORECASE), Role.UNIFIED),
)


@dataclass(frozen=True, slots=True)
class LogFound:
    """A log to watch.

    Attributes:
        path: where the file really is, absolute, links followed.
        role: of the process that wrote it.
        node: the number in its name, such as 0 of prefill_NODE0.log; None without one.
    """

    path: Path
    role: Role
    node: int | None


def role_of_log(name: str) -> Role:
    """Returns the role of the process that writes a log of this name; that of a job beside them when nothing tells."""
    return next((role for words, role in _WORDS if words.search(name)), Role.SUBMIT)


def find_logs(folder: str, files: Sequence[str]) -> tuple[LogFound, ...]:
    """Returns the logs in a folder and those that are named, each once, by role and node.

    Args:
        folder: a folder with logs; empty for none. Folders in it are not looked into.
        files: single logs.

    Raises:
        ConfigError: one of them is not there, may not be read, or is no plain file; or the folder has no log.
    """
    paths = [_plain_file(file) for file in files]
    if folder:
        inside = list(_inside(folder))
        if not inside:
            raise ConfigError("logs", folder, f"holds no file that ends in {', '.join(_SUFFIXES)}", "name another one")
        paths += inside
    found = {path: LogFound(path, role_of_log(path.name), _node(path.name)) for path in paths}
    if len(found) > _MOST:
        raise ConfigError("logs", folder, f"holds {len(found)} logs", f"name at most {_MOST} of them")
    order = list(Role)
    return tuple(sorted(found.values(), key=lambda log: (order.index(log.role), log.node or 0, log.path.name)))


def _inside(folder: str) -> Iterable[Path]:
    if not os.path.isabs(folder):
        raise ConfigError("logs", folder, "is not an absolute path", "write it from / on")
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else "is not a path"
        raise ConfigError(
            "logs", folder, problem or "cannot be read", "name a folder that this user can read"
        ) from None
    for entry in entries:
        # A link in a folder of somebody else may lead to a file of this person's own: only plain files count.
        if entry.name.endswith(_SUFFIXES) and entry.is_file(follow_symlinks=False):
            yield Path(os.path.realpath(folder)) / entry.name


def _plain_file(text: str) -> Path:
    if not os.path.isabs(text):
        raise ConfigError("log", text, "is not an absolute path", "write it from / on")
    try:
        path = os.path.realpath(text, strict=True)
        status = os.stat(path)
    except (OSError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else "is not a path"
        raise ConfigError("log", text, problem or "cannot be read", _REMEDY) from None
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError("log", text, "is not a plain file", _REMEDY)
    if not os.access(path, os.R_OK):
        raise ConfigError("log", text, "may not be read by this user", _REMEDY)
    return Path(path)


def _node(name: str) -> int | None:
    match = _NODE.search(name)
    return int(match[1]) if match else None
