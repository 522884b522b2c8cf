"""The address of Mooncake's metadata server, from the texts that Mooncake accepts, and back.

Pure. Mooncake takes whatever stands before `://` for the kind of server, nothing for etcd, and ends its process
at a kind that it does not know; a wrong address of a known kind costs it five seconds and a return code of -1.
So the rules here are stricter than Mooncake's, and each refusal says what to write instead. Called by whoever
reads a deployment, a config file or a command line.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

from ...engine.errors import ConfigError

__all__ = ["AddressError", "Endpoint", "MetadataServer", "Scheme", "parse_endpoint", "parse_metadata_server"]

_MOST_CHARACTERS = 2048
_SCHEME = re.compile(r"([^/]*?)://(.*)", re.DOTALL)
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_P2P = "P2PHANDSHAKE"


class Scheme(StrEnum):
    """What kind of server keeps the metadata; the values are Mooncake's spelling."""

    P2P = _P2P
    HTTP = "http"
    HTTPS = "https"
    ETCD = "etcd"
    REDIS = "redis"

    @property
    def default_port(self) -> int:
        """The port to propose where one is missing; Mooncake itself has no default that fits."""
        return {Scheme.HTTP: 8080, Scheme.HTTPS: 443, Scheme.ETCD: 2379, Scheme.REDIS: 6379}.get(self, 0)


_SERVERS = (Scheme.HTTP, Scheme.HTTPS, Scheme.ETCD, Scheme.REDIS)


class AddressError(ConfigError):
    """Raised when a text is no address of a metadata server.

    Attributes:
        corrected: the address that was most likely meant; None when that is not known.
        unknown_scheme: True when what stands before `://` is no kind of server that Mooncake knows.
    """

    def __init__(
        self,
        field: str,
        value: object,
        problem: str,
        remedy: str,
        *,
        corrected: str | None = None,
        unknown_scheme: bool = False,
    ) -> None:
        super().__init__(field, value, problem, remedy)
        self.corrected = corrected
        self.unknown_scheme = unknown_scheme


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host and a port; an IPv6 address has no brackets here."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """True when each host takes this address for itself."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class MetadataServer:
    """A metadata server as a deployment names it.

    Attributes:
        endpoints: none for P2PHANDSHAKE, several for an etcd cluster, else one.
        path: of http and https alone, such as /metadata.
        bare: written without a scheme; `str` leaves it so, as configs with a `metadata_backend` want it.
    """

    scheme: Scheme
    endpoints: tuple[Endpoint, ...] = ()
    path: str = ""
    bare: bool = False

    @property
    def url(self) -> str:
        """The address with its scheme, which every version of Mooncake reads alike."""
        if self.scheme is Scheme.P2P:
            return _P2P
        return f"{self.scheme}://{','.join(map(str, self.endpoints))}{self.path}"

    @property
    def loopback(self) -> bool:
        """True when only processes on the server's own host can reach it by this address."""
        return bool(self.endpoints) and all(endpoint.loopback for endpoint in self.endpoints)

    def __str__(self) -> str:
        return self.url.partition("://")[2] if self.bare else self.url


def parse_metadata_server(
    text: str, *, field: str = "metadata_server", backend: Scheme = Scheme.ETCD
) -> MetadataServer:
    """Returns the server that `text` names.

    Args:
        field: what the text is called where it was written, for the error.
        backend: the kind of server when the text has no scheme (`metadata_backend` of some configs).

    Raises:
        AddressError: Mooncake does not understand the text, or understands something else than was meant.
    """
    return _Reader(text, field).server(backend)


def parse_endpoint(text: str, *, field: str) -> Endpoint:
    """Returns the host and port of `text`, such as 10.0.0.1:2379 or [fd00::1]:2379.

    Raises:
        AddressError: it is none, or one that nobody can connect to.
    """
    return _Reader(text, field).endpoint(text, 2379, lambda fixed: fixed)


class _Reader:
    """Reads one text; holds it for the errors."""

    def __init__(self, text: str, field: str) -> None:
        self._text = text
        self._field = field

    def _wrong(
        self, problem: str, remedy: str, corrected: str | None = None, *, unknown_scheme: bool = False
    ) -> AddressError:
        shown = self._text
        if isinstance(shown, str):
            # What stands before an @ may be a password.
            shown = re.sub(r"(?<=/)[^/@]*@|^[^/@]*@", "***@", shown)
        return AddressError(self._field, shown, problem, remedy, corrected=corrected, unknown_scheme=unknown_scheme)

    def server(self, backend: Scheme) -> MetadataServer:
        text = self._text
        self._check_characters()
        if text.upper() == _P2P:
            if text != _P2P:
                problem = f"Mooncake compares {_P2P} as written, and takes {text} for an etcd host"
                raise self._wrong(problem, f"write {_P2P}", _P2P)
            return MetadataServer(Scheme.P2P)
        found = _SCHEME.fullmatch(text)
        if found is None:
            scheme, rest = backend, text
            if backend is Scheme.P2P:
                raise self._wrong(f"is no address for {_P2P}", f"write {_P2P} alone", _P2P)
        else:
            scheme, rest = self._scheme(found[1], found[2]), found[2]
        if "@" in rest:
            raise self._wrong(
                "holds a user or password, which Mooncake does not read", "leave out what is before the @"
            )
        if scheme in {Scheme.HTTP, Scheme.HTTPS}:
            return self._http(scheme, rest, bare=found is None)
        return self._store(scheme, rest, bare=found is None)

    def _check_characters(self) -> None:
        text = self._text
        if not isinstance(text, str):
            raise self._wrong("is not text", "write an address such as etcd://10.0.0.1:2379")
        if not text.strip():
            raise self._wrong("is empty", f"write {_P2P}, or an address such as etcd://10.0.0.1:2379")
        if len(text) > _MOST_CHARACTERS:
            raise self._wrong(f"is longer than {_MOST_CHARACTERS} characters", "write one server or one etcd cluster")
        if any(char.isspace() for char in text):
            fixed = "".join(text.split())
            problem = "contains spaces, which Mooncake takes for a part of the address"
            raise self._wrong(problem, "leave them out", fixed if fixed.isprintable() else None)
        if not (text.isascii() and text.isprintable()):
            raise self._wrong("contains characters that no address has", "write it in plain ASCII, IDNs as xn--...")

    def _scheme(self, name: str, rest: str) -> Scheme:
        for scheme in _SERVERS:
            if name == scheme:
                return scheme
            if name.lower() == scheme:
                problem = f"Mooncake knows {scheme} in lower case alone, and aborts its process at {name}"
                raise self._wrong(problem, f"write {scheme}://{rest}", f"{scheme}://{rest}", unknown_scheme=True)
        near = get_close_matches(name.lower(), _SERVERS, n=1)
        corrected = f"{near[0]}://{rest}" if near else None
        known = ", ".join(_SERVERS[:-1]) + f" or {_SERVERS[-1]}"
        remedy = f"write {corrected}" if corrected else f"write {known}, or {_P2P} alone"
        problem = (
            f"{name!r} is no kind of metadata server, and Mooncake aborts its process at one that it does not know"
        )
        raise self._wrong(problem, remedy, corrected, unknown_scheme=True)

    def _http(self, scheme: Scheme, rest: str, *, bare: bool) -> MetadataServer:
        authority, slash, path = rest.partition("/")
        path = slash + path
        start = f"{scheme}://"
        if "?" in rest or "#" in rest:
            fixed = start + re.split(r"[?#]", rest)[0]
            problem = "has a query or a fragment, and Mooncake appends ?key=... itself"
            raise self._wrong(problem, "end it with the path, such as /metadata", fixed)
        if "," in authority or ";" in authority:
            raise self._wrong("names several servers, and Mooncake takes one over HTTP", "write one of them")
        endpoint = self.endpoint(authority, scheme.default_port, lambda fixed: f"{start}{fixed}{path or '/metadata'}")
        if not path.strip("/"):
            fixed = f"{start}{endpoint}/metadata"
            raise self._wrong("lacks the path that Mooncake's metadata servers answer on", f"write {fixed}", fixed)
        if path.endswith("/"):
            fixed = f"{start}{endpoint}{path.rstrip('/')}"
            raise self._wrong(
                "ends in a slash, where Mooncake's metadata servers have no path", f"write {fixed}", fixed
            )
        if not _PATH.fullmatch(path):
            raise self._wrong(
                "has a path that is none", "write a path of letters, digits, dots and dashes, such as /metadata"
            )
        return MetadataServer(scheme, (endpoint,), path, bare)

    def _store(self, scheme: Scheme, rest: str, *, bare: bool) -> MetadataServer:
        start = "" if bare else f"{scheme}://"
        if "://" in rest:
            fixed = f"{scheme}://" + re.sub(r"[a-zA-Z]+://", "", rest)
            problem = f"has a second scheme; Mooncake reads what follows {scheme}:// as hosts and ports"
            raise self._wrong(problem, f"write {fixed}", fixed)
        for mark in "/?#":
            place = rest.find(mark)
            if place < 0:
                continue
            if bare and rest.endswith("/metadata"):
                fixed = f"http://{rest}"
                raise self._wrong("has no scheme, so that Mooncake takes it for etcd", f"write {fixed}", fixed)
            fixed = start + rest[:place]
            problem = f"has something after the port; an address of {scheme} ends with the port"
            if scheme is Scheme.REDIS:
                problem += ", and MC_REDIS_DB_INDEX chooses the database"
            raise self._wrong(problem, f"write {fixed}", fixed)
        # The wheel takes semicolons too; the documented form has commas.
        parts = re.split("[,;]", rest)
        if len(parts) > 1 and scheme is not Scheme.ETCD:
            raise self._wrong("names several servers, and Mooncake takes one redis", "write one of them")
        if len(parts) > 1 and "" in parts:
            fixed = start + ",".join(filter(None, parts))
            raise self._wrong("has an empty endpoint in its list", f"write {fixed}", fixed)
        endpoints = []
        for number, part in enumerate(parts):

            def whole(fixed: str, number: int = number) -> str:
                return start + ",".join([*parts[:number], fixed, *parts[number + 1 :]])

            endpoint = self.endpoint(part, scheme.default_port, whole)
            if endpoint in endpoints:
                raise self._wrong(f"names {endpoint} twice", "name each endpoint once")
            endpoints.append(endpoint)
        return MetadataServer(scheme, tuple(endpoints), "", bare)

    def endpoint(self, text: str, default_port: int, whole: Callable[[str], str]) -> Endpoint:
        """Returns the endpoint of `text`; `whole` puts a corrected one in its place in the address."""
        if text.startswith("["):
            host, bracket, tail = text[1:].partition("]")
            if not bracket or (tail and not tail.startswith(":")):
                raise self._wrong("has a bracket that is not closed before the port", "write [ADDRESS]:PORT")
            self._check_ipv6(host)
            port = tail[1:] if tail else None
        else:
            if text.count(":") > 1:
                raise self._unbracketed(text, default_port, whole)
            host, colon, port = text.partition(":")
            port = port if colon else None
            self._check_host(host)
        if not port:
            fixed = whole(str(Endpoint(host, default_port)))
            raise self._wrong("lacks a port, and Mooncake has no default that fits", f"write {fixed}", fixed)
        # More digits than a port has are refused before they become a number.
        if not re.fullmatch(r"[1-9][0-9]{0,4}", port) or int(port) > 65535:
            raise self._wrong(f"has {port[:20]!r} for a port", "write a number from 1 to 65535")
        return Endpoint(host, int(port))

    def _unbracketed(self, text: str, default_port: int, whole: Callable[[str], str]) -> AddressError:
        host, _, last = text.rpartition(":")
        problem = "has an IPv6 address without brackets, so that its port cannot be told apart"
        for address, port in ((host, last), (text, str(default_port))):
            if _is_ipv6(address) and (address == text or port.isdecimal()):
                # 2001:db8::1:2379 is an address too; which one was meant, nobody knows.
                sure = address != text and not _is_ipv6(text)
                fixed = whole(f"[{address}]:{port}")
                return self._wrong(problem, f"write {fixed}", fixed if sure else None)
        return self._wrong("has more than one colon in an endpoint", "write HOST:PORT, several of etcd with commas")

    def _check_ipv6(self, host: str) -> None:
        if "%" in host:
            raise self._wrong("names a zone, which only one host understands", "write an address without %...")
        if not _is_ipv6(host):
            raise self._wrong(
                f"has {host[:50]!r} in brackets, which is no IPv6 address", "write HOST:PORT without brackets"
            )
        self._check_connectable(host)

    def _check_host(self, host: str) -> None:
        if not host:
            raise self._wrong("lacks a host", "write the name or address of the server's host before the port")
        labels = host.removesuffix(".").split(".")
        if labels[-1].isdecimal():
            try:
                ipaddress.IPv4Address(host)
            except ValueError:
                raise self._wrong(
                    f"has {host[:50]!r} for a host, which is no IPv4 address", "write four numbers to 255"
                ) from None
            self._check_connectable(host)
        elif len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
            raise self._wrong(
                f"has {host[:50]!r} for a host, which is no name", "write letters, digits, dots and dashes"
            )

    def _check_connectable(self, host: str) -> None:
        address = ipaddress.ip_address(host)
        if address.is_unspecified:
            problem = f"{host} is what a server listens on, and nothing that a worker can connect to"
            raise self._wrong(problem, "write the address of the server's host")
        if address.is_multicast or host == "255.255.255.255":
            raise self._wrong(f"{host} is the address of many hosts", "write the address of the server's host")


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text
