"""The rules that every request meets before anybody asks who sent it: pure, headers and path in, a refusal out.

In this order: Host (421), Origin (403), Sec-Fetch-Site (403), odd paths (400), JSON or raw bytes for actions (415).
Knows no route but the login form, and no application. Called by `guard`.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from ..access.access import Access
from .identity import header_values
from .limits import MOST_HEADERS

__all__ = ["LOGIN", "LOGOUT", "SAFE_METHODS", "Refusal", "check"]

LOGIN, LOGOUT = "/login", "/logout"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

# Neither can be sent by a page of another origin unless we allow it to: a browser asks first, and is refused.
_ACTION_TYPES = ("application/json", "application/octet-stream")
_FORM_TYPE = "application/x-www-form-urlencoded"
# Two slashes, steps up, backslashes and control characters: no route of ours has them, and each layer that reads a
# path might read them in its own way.
_ODD_PATH = re.compile(r"//|\\|[\x00-\x1f\x7f]|/\.{1,2}(?:/|$)")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served; `status` is HTTP's, a WebSocket is closed with 4000 + status."""

    status: int
    reason: str


def check(scope: MutableMapping[str, Any], access: Access) -> Refusal | None:
    """Returns why the request or WebSocket of `scope` is refused whoever sent it, or None; pure."""
    headers = list(scope["headers"])
    hosts = header_values(headers, b"host")
    if len(hosts) != 1 or hosts[0].lower() not in access.hosts:
        return Refusal(421, "The panel does not answer to this host name; open the URL that it printed.")
    origins = header_values(headers, b"origin")
    if any(origin.lower() not in access.origins for origin in origins):
        return Refusal(403, "A page of another origin may not use the panel.")
    is_http = scope["type"] == "http"
    method = scope.get("method", "GET")
    if any(site not in ("same-origin", "none") for site in header_values(headers, b"sec-fetch-site")):
        places = ("document", "iframe") if access.frames else ("document",)
        opens_page = (
            is_http
            and method == "GET"
            and header_values(headers, b"sec-fetch-mode") == ["navigate"]
            and header_values(headers, b"sec-fetch-dest") in [[place] for place in places]
        )
        if not opens_page:
            return Refusal(403, "A page of another site may not use the panel.")
    if len(headers) > MOST_HEADERS:
        return Refusal(431, "The request has too many headers.")
    if _ODD_PATH.search(scope["path"]):
        return Refusal(400, "The panel has no such address.")
    if is_http and method not in SAFE_METHODS:
        return _check_action(scope["path"], header_values(headers, b"content-type"), bool(origins), access)
    return None


def _check_action(path: str, types: list[str], has_origin: bool, access: Access) -> Refusal | None:
    kinds = [value.partition(";")[0].strip().lower() for value in types]
    if access.users and path in (LOGIN, LOGOUT):
        # Every browser sends the origin of a form; its value was checked.
        if not has_origin or kinds != [_FORM_TYPE]:
            return Refusal(403, "Sign in on the panel's own page.")
    elif len(kinds) != 1 or kinds[0] not in _ACTION_TYPES:
        return Refusal(415, "Actions take Content-Type: application/json, and files application/octet-stream.")
    return None
