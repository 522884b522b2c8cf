"""Writes a dump: the files that `gather` finds, the facts, and the list of what could not be read.

Called by `pdpanel probe --dump` and by `script`.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Mapping
from typing import IO, Any

from .facts import allowed_variables, collect_facts
from .gather import HostArchive

__all__ = ["opened_at_once", "write_dump"]

_SMI_S, _GRACE_S = 6.0, 2.0


def write_dump(
    target: str | os.PathLike[str] | IO[bytes],
    root: str | os.PathLike[str] = "/",
    environ: Mapping[str, str] | None = None,
    gpus: Mapping[str, Any] | None = None,
) -> str:
    """Writes a dump to a path or a stream, within some 10 s, and returns what it holds in one line.

    What could not be read, or was left out because a limit was reached, is named with the reason in
    `pdpanel/unreadable.json`. Another root than `/` gives its files and its own facts.

    Args:
        environ: the variables of the live host that the facts may name.
        gpus: what the GPU libraries of the live host said; without it nvidia-smi is asked.

    Raises:
        OSError: the target cannot be written; a file that was begun is removed.
    """
    place = os.path.realpath(root)
    if not isinstance(target, (str, os.PathLike)):
        return _write(target, place, environ or {}, gpus)
    with open(target, "wb", opener=opened_at_once) as stream:
        try:
            return _write(stream, place, environ or {}, gpus)
        except BaseException:
            if os.path.isfile(target):
                os.unlink(target)
            raise


def opened_at_once(path: str, flags: int) -> int:
    """Opens a file without waiting: a pipe that nobody reads is an error at once."""
    descriptor = os.open(path, flags | os.O_NONBLOCK, 0o666)
    os.set_blocking(descriptor, True)
    return descriptor


def _write(stream: IO[bytes], root: str, environ: Mapping[str, str], gpus: Mapping[str, Any] | None) -> str:
    archive = HostArchive(root, stream)
    try:
        answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        smi_s = 0.0 if gpus is not None else _SMI_S
        if archive.live:
            threading.Thread(target=lambda: answers.put(collect_facts(environ, smi_s)), daemon=True).start()
        archive.gather()
        facts = _facts_of(archive.text("pdpanel/facts.json"))
        if archive.live:
            try:
                facts = answers.get(timeout=_GRACE_S + smi_s)
            except queue.Empty:
                archive.unreadable["pdpanel/facts.json"] = "did not come in time"
        facts.setdefault("tcp_states", archive.states)
        if gpus is not None:
            facts["gpus"] = gpus
        archive.add_json("pdpanel/facts.json", facts)
        archive.add_json("pdpanel/unreadable.json", archive.unreadable)
        return archive.close()
    except BaseException:
        archive.abandon()
        raise


def _facts_of(text: str) -> dict[str, Any]:
    """Returns the facts of a dump; what they keep of the variables is filtered here as everywhere."""
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(facts, dict):
        return {}
    environ = facts.get("environ")
    pairs = environ.items() if isinstance(environ, dict) else ()
    facts["environ"] = allowed_variables({name: value for name, value in pairs if isinstance(value, str)})
    return facts
