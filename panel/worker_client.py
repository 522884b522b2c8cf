"""Asks one worker of a run over HTTP, with the keys that its own command gives it. Blocks.

No proxy of the environment is used: workers are on this host or in its network. Profiles and the pictures of ranks use
it; samples have a connection of their own (`runner.http`).
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from ..engine.errors import ConflictError, PeerError
from .launch import ProcessSpec

__all__ = ["ask_worker", "key_of"]

_MOST_BYTES = 4 << 20


def key_of(spec: ProcessSpec, *, admin: bool = False) -> str:
    """Returns the key that a worker wants, as its command says; empty when it wants none."""
    names = ("--admin-api-key", "--api-key") if admin else ("--api-key",)
    for name in names:
        for place, word in enumerate(spec.argv):
            if word == name and place + 1 < len(spec.argv):
                return spec.argv[place + 1]
            if word.startswith(f"{name}="):
                return word.partition("=")[2]
    return ""


def ask_worker(
    spec: ProcessSpec, path: str, body: object = None, *, timeout_s: float = 5.0, admin: bool = False
) -> Any:
    """Returns a worker's answer as JSON.

    Args:
        path: of the route.
        body: is posted as JSON; None asks with GET.
        admin: the route is an administrator's.

    Raises:
        ConflictError: the worker refuses it, in its own words.
        PeerError: it does not answer, or not with JSON.
    """
    base = spec.info_url.rpartition("/")[0]
    headers = {"Content-Type": "application/json"}
    if key := key_of(spec, admin=admin):
        headers["Authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base + path, data, headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout_s) as response:
            return json.loads(response.read(_MOST_BYTES))
    except urllib.error.HTTPError as error:
        raise ConflictError("process", spec.name, _refusal(error), "see its log") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise PeerError(f"{spec.name} does not answer at {base}{path}: {reason}.") from None


def _refusal(error: urllib.error.HTTPError) -> str:
    try:
        text = str(json.loads(error.read(_MOST_BYTES))["error"]["message"])
    except (OSError, ValueError, KeyError, TypeError):
        text = f"it answers with status {error.code}"
    return text.rstrip(".")
