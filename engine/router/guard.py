"""Who may speak to the router: no web page of somebody else, and no name that was made to point here.

A pure function of a request's method and headers. It stops a browser from being used against a server on this host:
DNS rebinding by the Host header, foreign pages by Origin and Sec-Fetch-Site, HTML forms by the content type.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

__all__ = ["Refusal", "check_request"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served."""

    status: int
    reason: str


def _host_of(authority: str) -> str:
    try:
        return (urlsplit(f"//{authority}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_local(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def check_request(method: str, headers: Mapping[str, str], *, bound_host: str, has_body: bool) -> Refusal | None:
    """Returns why a request is refused, or None.

    Args:
        headers: looked up by name without regard to case.
        bound_host: where the server listens. On loopback a client must have used a loopback name; elsewhere its
            name is not ours to know, and a key protects the server.
        has_body: whether the request carries a body.
    """
    authority = headers.get("Host", "")
    host = _host_of(authority)
    if _is_local(bound_host.strip("[]")) and not _is_local(host):
        return Refusal(403, f"Host = {authority!r}: not a name of this server; use 127.0.0.1 or localhost.")
    origin = headers.get("Origin")
    if origin is not None and (origin == "null" or urlsplit(origin).netloc.lower() != authority.lower()):
        return Refusal(403, f"Origin = {origin!r}: requests of other web pages are refused; send none.")
    if headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        return Refusal(403, "Sec-Fetch-Site: requests of other web pages are refused; open the address directly.")
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if method not in {"GET", "HEAD", "OPTIONS"} and (has_body or kind) and kind != "application/json":
        return Refusal(415, f"Content-Type = {kind!r}: a POST must be JSON; send application/json.")
    return None
