"""What the person asked for about access, and the rule what of it is safe enough to listen with.

`read_door` checks the options; `access_of` turns them and the port into the `Access` of the guard. Loopback needs
nothing: the token of the printed URL is the key. Anything else needs users, and TLS here or at a proxy.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from ...engine.errors import ConfigError
from .access import Access, Network
from .tls import TlsFiles, check_tls
from .users import Users, read_users

__all__ = [
    "Door",
    "access_of",
    "exact_origin",
    "is_loopback",
    "is_unspecified",
    "plain_root",
    "read_door",
    "read_token_file",
]

_NAME = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?|\[[0-9a-fA-F:.]{2,45}\])(?::([0-9]{1,5}))?")
_ROOT = re.compile(r"(?:/[A-Za-z0-9._~@-]+)+")
_LOOPBACK_NETWORKS: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


@dataclass(frozen=True, slots=True)
class Door:
    """How the panel may be reached beyond its own port on loopback.

    Attributes:
        users: who may sign in with a password; none keeps the token flow.
        tls: the certificate that the panel serves with.
        root_path: the prefix below which a proxy shows it, as "/x".
        hosts: further exact Host values of a proxy, with its port where the browser sends one.
        origins: further exact Origin values; each one's host counts as one of `hosts`.
        behind_proxy: a proxy ends TLS, and nobody else may connect.
        proxies: the proxy's addresses; loopback when none is named.
        frames: origins of pages that may show the panel in a frame.
        token: a lasting secret for API clients; empty for a fresh one or, with users, for none.
    """

    users: Users = field(default_factory=Users)
    tls: TlsFiles | None = None
    root_path: str = ""
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    behind_proxy: bool = False
    proxies: tuple[Network, ...] = ()
    frames: tuple[str, ...] = ()
    token: str = ""

    @property
    def secure(self) -> bool:
        """True when browsers reach the panel over https."""
        return self.tls is not None or self.behind_proxy


def is_loopback(host: str) -> bool:
    """Returns True for an address that only this host reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_unspecified(host: str) -> bool:
    """Returns True for 0.0.0.0 and ::, which mean every address."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def read_door(
    host: str,
    *,
    auth: Sequence[str] = (),
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    root_path: str = "",
    allowed_hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
    behind_proxy: bool = False,
    proxies: Sequence[str] = (),
    token: str = "",
    frames: Sequence[str] = (),
) -> Door:
    """Returns what the options ask for.

    Raises:
        ConfigError: an option is wrong, or `host` is not loopback and something is missing for that.
    """
    door = Door(
        users=read_users(auth),
        tls=check_tls(tls_cert, tls_key),
        root_path=plain_root(root_path),
        hosts=tuple(_host(value) for value in allowed_hosts),
        origins=tuple(exact_origin("--origin", value) for value in origins),
        behind_proxy=behind_proxy,
        proxies=tuple(_network(value) for value in proxies),
        frames=tuple(exact_origin("frames", value) for value in frames),
        token=token,
    )
    if proxies and not behind_proxy:
        raise ConfigError("--trusted-proxy", proxies[0], "is believed with --behind-proxy alone", "add --behind-proxy")
    if behind_proxy and door.tls is not None:
        raise ConfigError("--behind-proxy", True, "leaves TLS to the proxy", "leave out --tls-cert and --tls-key")
    if behind_proxy and not (door.hosts or door.origins):
        remedy = "add --allowed-hosts with the name that the proxy answers to"
        raise ConfigError("--behind-proxy", True, "does not say by which name the panel is called", remedy)
    if not is_loopback(host):
        _require(host, door)
    return door


def _require(host: str, door: Door) -> None:
    if not door.users:
        remedy = "add --auth USER:HASH (see `pdpanel hash-password`), or listen on 127.0.0.1 and use an SSH tunnel"
        raise ConfigError("--host", host, "lets other machines reach the panel without a password", remedy)
    if not door.secure:
        remedy = "add --tls-cert and --tls-key, or --behind-proxy with --allowed-hosts where a proxy ends TLS"
        raise ConfigError("--host", host, "would send passwords over the network unencrypted", remedy)


def plain_root(text: str) -> str:
    """Returns a prefix as "/x" or as nothing; raises ConfigError for one that is no plain path."""
    path = text.rstrip("/")
    if path and (not _ROOT.fullmatch(path) or any(part in (".", "..") for part in path.split("/"))):
        raise ConfigError("--root-path", text, "is not a plain path", "write one such as /pdpanel")
    return path


def _host(text: str) -> str:
    found = _NAME.fullmatch(text)
    if found is None or (found.group(1) is not None and not 0 < int(found.group(1)) < 65536):
        raise ConfigError("--allowed-hosts", text, "is not an exact host name", "write NAME or NAME:PORT")
    return text.lower()


def exact_origin(option: str, text: str) -> str:
    """Returns scheme, name and port as a browser writes them; raises ConfigError, which names `option`, for others."""
    try:
        parts = urlsplit(text)
        plain = parts.scheme in ("http", "https") and _NAME.fullmatch(parts.netloc) is not None
        plain = (
            plain and (parts.port or 1) < 65536 and not parts.path.strip("/") and not (parts.query or parts.fragment)
        )
    except ValueError:
        plain = False
    if not plain:
        raise ConfigError(option, text, "is not an exact origin", "write one such as https://jupyter.example:8888")
    return text.rstrip("/").lower()


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        remedy = "write one such as 10.0.0.7 or 10.0.0.0/24"
        raise ConfigError("--trusted-proxy", text, "is not an address or a network", remedy) from None


def _names(host: str, door: Door) -> Iterable[str]:
    """Returns the exact host names by which a browser may call a panel that listens on `host`."""
    names: set[str] = set(door.tls.names if door.tls is not None else ())
    if is_unspecified(host):
        import psutil

        names |= {socket.gethostname()} | {
            entry.address.partition("%")[0]
            for entries in psutil.net_if_addrs().values()
            for entry in entries
            if entry.family in (socket.AF_INET, socket.AF_INET6)
        }
    elif not is_loopback(host):
        names.add(host)
    return sorted(f"[{name}]" if ":" in name else name for name in names)


def access_of(door: Door, host: str, port: int, token: str) -> Access:
    """Returns the access of a panel that listens on `host` and `port`.

    Args:
        door: what the person asked for.
        host: the address of the listening socket.
        port: its port.
        token: the secret of the token flow; with users, the one of API clients, which may be empty.
    """
    access = Access.for_port(port, token, _names(host, door), secure=door.secure)
    if door.behind_proxy:
        # Only the names of the proxy are reached over https; the panel's own port is spoken to by nobody else.
        access = replace(access, hosts=frozenset(), origins=frozenset())
    scheme = "https" if door.secure else "http"
    outer = set(door.hosts) | {urlsplit(origin).netloc for origin in door.origins}
    access = access.with_names(outer, {f"{scheme}://{name}" for name in door.hosts} | set(door.origins))
    return replace(
        access,
        root_path=door.root_path,
        users=door.users,
        behind_proxy=door.behind_proxy,
        proxies=(door.proxies or _LOOPBACK_NETWORKS) if door.behind_proxy else (),
        frames=frozenset(exact_origin("frames", origin) for origin in door.frames),
    )


def read_token_file(path: Path) -> str:
    """Returns the token in a file that only its owner can read.

    Raises:
        ConfigError: the file cannot be read, is readable by others, or holds no usable token.
    """
    try:
        mode = path.stat().st_mode
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        problem = (error.strerror if isinstance(error, OSError) else None) or "is not ASCII"
        raise ConfigError("--token-file", str(path), f"cannot be read: {problem}", "name a file with a token") from None
    if mode & 0o077:
        raise ConfigError("--token-file", str(path), "can be read by other users of this host", f"run chmod 600 {path}")
    if not re.fullmatch(r"[A-Za-z0-9._~+/=-]{16,512}", token):
        remedy = "write 16 or more of A-Z a-z 0-9 . _ ~ + / = -, for example by openssl rand -hex 24"
        raise ConfigError("--token-file", str(path), "holds no token", remedy)
    return token
