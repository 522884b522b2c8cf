"""Free ports and JSON over HTTP, for tests of whole deployments."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from pdpanel.engine import net

__all__ = ["free_port", "get", "post"]


def free_port() -> int:
    """Returns a port of this host that nobody listens on."""
    return net.free_port("127.0.0.1")


def get(url: str, timeout: float = 10.0) -> Any:
    """Returns the JSON of a GET."""
    with urllib.request.urlopen(url, timeout=timeout) as response:
        return json.load(response)


def post(url: str, body: dict[str, Any], timeout: float = 120.0) -> tuple[int, Any]:
    """Returns status and JSON of a POST."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
