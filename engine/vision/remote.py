"""Images from other servers, for workers that were told to get them (`--allow-remote-images`).

A request must not make the worker look into its own network: only public addresses are connected to, the name is
resolved once for check and connection, each redirect is checked like the first address, and size, time and redirects
are bounded.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from ..errors import RequestError

__all__ = ["RemoteImages", "is_public"]

MOST_BYTES = 10 << 20
_TIMEOUT_S = 10.0
_MOST_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REMEDY = "send the image as a data URL"


def is_public(address: str) -> bool:
    """Returns whether an IP address belongs to nobody's own network."""
    found = ipaddress.ip_address(address.split("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    found = mapped or found
    return found.is_global and not found.is_multicast


class _PrivateAddressError(OSError):
    """Raised when a name stands for an address that is not public."""


class _CheckedResolver(AbstractResolver):
    def __init__(self, may: Callable[[str], bool]) -> None:
        self._inner = ThreadedResolver()
        self._may = may

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if not all(self._may(one["host"]) for one in found):
            raise _PrivateAddressError(host)
        return found

    async def close(self) -> None:
        await self._inner.close()


class RemoteImages:
    """Gets images by http and https.

    Args:
        may: which IP addresses may be connected to.
        timeout_s: for a whole image, redirects included.
    """

    def __init__(self, may: Callable[[str], bool] = is_public, timeout_s: float = _TIMEOUT_S) -> None:
        self._may = may
        self._timeout_s = timeout_s

    async def get(self, url: str, field: str) -> bytes:
        """Returns the file at `url`.

        Raises:
            RequestError: it cannot be had within the limits.
        """
        connector = aiohttp.TCPConnector(resolver=_CheckedResolver(self._may), force_close=True)
        try:
            async with asyncio.timeout(self._timeout_s), aiohttp.ClientSession(connector=connector) as session:
                return await self._follow(session, url, field)
        except TimeoutError:
            problem = f"the image did not arrive within {self._timeout_s:g} s"
            raise RequestError(field, url, problem, _REMEDY) from None
        except _PrivateAddressError:
            raise _private(field, url) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error.__cause__, _PrivateAddressError) or isinstance(
                getattr(error, "os_error", None), _PrivateAddressError
            ):
                raise _private(field, url) from None
            raise RequestError(field, url, f"the image cannot be fetched: {_why(error)}", _REMEDY) from None

    async def _follow(self, session: aiohttp.ClientSession, url: str, field: str) -> bytes:
        for _ in range(_MOST_REDIRECTS + 1):
            self._check(url, field)
            async with session.get(url, allow_redirects=False) as answer:
                if answer.status in _REDIRECTS and "Location" in answer.headers:
                    url = urljoin(url, answer.headers["Location"])
                    continue
                if answer.status != 200:
                    raise RequestError(field, url, f"its server answers {answer.status}", _REMEDY)
                return await _read(answer, url, field)
        raise RequestError(field, url, f"it is redirected more than {_MOST_REDIRECTS} times", _REMEDY)

    def _check(self, url: str, field: str) -> None:
        split = urlsplit(url)
        if split.scheme not in ("http", "https") or not split.hostname:
            raise RequestError(field, url, "not an http or https address", _REMEDY)
        try:
            allowed = self._may(split.hostname)
        except ValueError:
            return  # a name, which the resolver checks
        if not allowed:
            raise _private(field, url)


async def _read(answer: aiohttp.ClientResponse, url: str, field: str) -> bytes:
    found = bytearray()
    async for piece in answer.content.iter_chunked(1 << 16):
        found += piece
        if len(found) > MOST_BYTES:
            raise RequestError(field, url, f"the image has more than {MOST_BYTES} bytes", "send a smaller one")
    return bytes(found)


def _why(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "its server's name is not known"
        case aiohttp.ClientConnectorError():
            return "its server takes no connection"
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError():
            return "its server ended before the image did"
        case aiohttp.InvalidURL() | ValueError():
            return "the address is malformed"
        case _:
            return type(error).__name__


def _private(field: str, url: str) -> RequestError:
    return RequestError(field, url, "its server has no public address", _REMEDY)
