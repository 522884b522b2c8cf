"""Which URLs may be watched: http and https, without credentials, and never a cloud's metadata service.

Pure, but for asking the resolver in `addresses_of`. Called when a deployment is attached, and again before each
question, since a name may lead elsewhere the next time.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit

from ...engine.errors import ConfigError

__all__ = ["addresses_of", "base_url", "refusal_of"]

_LONGEST = 500
_REMEDY = "write http://HOST:PORT"


def base_url(field: str, text: str) -> str:
    """Returns a URL as it is kept: scheme, host, port and path, without a slash at its end.

    Args:
        field: what the URL was given as.
        text: the URL; without a scheme it is http.

    Raises:
        ConfigError: it may not be watched, or is none.
    """
    url = text.strip()
    if not url or len(url) > _LONGEST or not url.isascii() or any(char.isspace() or ord(char) < 32 for char in url):
        raise ConfigError(field, text, "is not a URL", _REMEDY)
    if "://" not in url:
        url = f"http://{url}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(field, text, f"is not a URL: {error}", _REMEDY) from None
    if parts.scheme not in {"http", "https"}:
        raise ConfigError(field, text, "is neither http nor https", _REMEDY)
    if "@" in parts.netloc:
        raise ConfigError(field, "(a URL with credentials)", "holds credentials", "give the key as API key")
    if parts.query or parts.fragment or not parts.hostname:
        raise ConfigError(field, text, "is not the address of a server", _REMEDY)
    if reason := refusal_of(parts.hostname):
        raise ConfigError(field, text, reason, "name a worker or router")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    where = host if port is None else f"{host}:{port}"
    return f"{parts.scheme}://{where}{parts.path.rstrip('/')}"


def refusal_of(host: str) -> str:
    """Returns why nothing may be fetched from this address; empty for another one, and for a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # Forms such as 2852039166 or 0xa9fea9fe, which the resolver takes for addresses.
        try:
            address = ipaddress.ip_address(socket.inet_aton(host))
        except (OSError, ValueError):
            return ""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_link_local or str(address) in {"fd00:ec2::254", "100.100.100.200"}:
        return "is a link-local address, where clouds keep their metadata"
    if address.is_multicast or address.is_unspecified:
        return "is not the address of one host"
    return ""


async def addresses_of(host: str, port: int) -> tuple[str, ...]:
    """Returns the addresses that a name leads to now; raises OSError when it leads nowhere."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(where[4][0]) for where in found))
