"""Who may speak to a local server: a check of Host, Origin, Sec-Fetch-Site and content type.

A web page that someone visits can make their browser send requests to addresses of this machine, under its
own name if its DNS says so (rebinding). Programs send none of these headers wrongly, so nothing is lost by
refusing. Pure; the workers and the router call it. The panel, which starts processes, has a stricter one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["AllowedHosts", "GuardRefusal", "check_request"]

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_AUTHORITY = re.compile(r"(?:\[(?P<address>[0-9a-f:.%]+)\]|(?P<name>[a-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?")
_READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_FOREIGN_PAGE = "pages of other sites may not use this server; open its own address"
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class GuardRefusal:
    """Why a request is not served.

    Attributes:
        status: 403, 415 or 421.
        message: one sentence with the header, its value and the remedy.
    """

    status: int
    message: str


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """The names under which a server may be addressed.

    Attributes:
        names: host names and addresses, lower case, without port and brackets.
        port: the port of those names; None takes any, for a server behind a proxy.
        any_address: also accept every IP address as a name: a page cannot make a browser send an address that
            it was not loaded from.
        free_names: names that are good with any port.
    """

    names: frozenset[str]
    port: int | None
    any_address: bool = False
    free_names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, bound_host: str, port: int | None, names: Iterable[str] = ()) -> AllowedHosts:
        """Returns what a server bound to `bound_host` and `port` answers to.

        Args:
            names: more names that its owner gave it, such as a proxy's; a name may carry its own port.
        """
        bound = _plain(bound_host)
        fixed = set(_LOOPBACK_NAMES)
        if bound:
            fixed.add(bound)
        is_local = bound in _LOOPBACK_NAMES or _is_loopback(bound)
        return cls(frozenset(fixed), port, not is_local, frozenset(name.strip().lower() for name in names))

    def accepts(self, host_header: str) -> bool:
        """True when a Host header (or the authority of an Origin) names this server."""
        authority = host_header.strip().lower()
        split = split_authority(authority)
        if split is None:
            return False
        name, port = split
        if authority in self.free_names or name in self.free_names:
            return True
        if self.port is not None and (80 if port is None else port) != self.port:
            return False
        return name in self.names or (self.any_address and _address(name) is not None)


def split_authority(authority: str) -> tuple[str, int | None] | None:
    """Returns host (without brackets) and port of `host[:port]`; None when it is malformed."""
    match = _AUTHORITY.fullmatch(authority.lower())
    if match is None:
        return None
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 0 < port < 65536:
        return None
    return (match["address"] or match["name"]).removesuffix("."), port


def _plain(host: str) -> str:
    return host.strip().lower().removeprefix("[").removesuffix("]")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.split("%")[0])
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return address is not None and address.is_loopback


def check_request(
    host_header: str | None,
    origin: str | None,
    sec_fetch_site: str | None,
    method: str,
    content_type: str | None,
    allowed: AllowedHosts,
) -> GuardRefusal | None:
    """Returns why a request is refused, None when it may pass.

    Args:
        host_header: the Host header; several of them joined by commas.
        content_type: the Content-Type header. A caller that knows a POST to have no body passes
            "application/json".
    """
    if host_header is None or not allowed.accepts(host_header):
        return GuardRefusal(421, f"Host = {_shown(host_header)}: not a name of this server; use its address.")
    if origin is not None and not _is_own(origin, host_header):
        return GuardRefusal(403, f"Origin = {_shown(origin)}: {_FOREIGN_PAGE}.")
    if sec_fetch_site is not None and sec_fetch_site.strip().lower() == "cross-site":
        return GuardRefusal(403, f"Sec-Fetch-Site = {_shown(sec_fetch_site)}: {_FOREIGN_PAGE}.")
    if method.upper() not in _READING_METHODS and not _is_json(content_type):
        return GuardRefusal(415, f"Content-Type = {_shown(content_type)}: not JSON; send the body as application/json.")
    return None


def _is_own(origin: str, host_header: str) -> bool:
    scheme, separator, authority = origin.strip().lower().partition("://")
    if not separator or scheme not in _DEFAULT_PORTS:
        return False
    ours, theirs = split_authority(host_header.strip().lower()), split_authority(authority)
    if ours is None or theirs is None or ours[0] != theirs[0]:
        return False
    default = _DEFAULT_PORTS[scheme]
    return (default if ours[1] is None else ours[1]) == (default if theirs[1] is None else theirs[1])


def _is_json(content_type: str | None) -> bool:
    if content_type is None:
        return False
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charsets = [value.strip('"') for name, _, value in (p.partition("=") for p in parameters) if name == "charset"]
    return kind == "application/json" and all(charset in ("utf-8", "utf8", "us-ascii") for charset in charsets)


def _shown(value: str | None) -> str:
    return "none" if value is None else repr(value[:80])
