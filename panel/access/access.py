"""Who may talk to a panel and under which names: one frozen value, read by the guard for every request.

Knows no request; `door` makes it from what the person asked for.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from .users import Users

__all__ = ["Access", "Network"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True)
class Access:
    """Who may talk to this panel.

    Attributes:
        hosts: exact values of the Host header, with the port where the browser sends one.
        origins: exact values of the Origin header.
        token: the secret of the printed URL and of API clients; with users only that of API clients, empty for none.
        cookie: the cookie's name; it holds the port, since all ports of a host share their cookies.
        secure: browsers reach the panel over https.
        root_path: the prefix below which a proxy shows the panel, as "/x"; empty for none.
        users: who may sign in with a password; none for the token flow.
        behind_proxy: only `proxies` may connect; they end TLS.
        proxies: the addresses whose X-Forwarded-For and X-Forwarded-Proto are believed.
        frames: origins of pages, such as a notebook, that may show the panel in a frame.
    """

    hosts: frozenset[str]
    origins: frozenset[str]
    token: str
    cookie: str
    secure: bool = False
    root_path: str = ""
    users: Users = field(default_factory=Users)
    behind_proxy: bool = False
    proxies: tuple[Network, ...] = ()
    frames: frozenset[str] = frozenset()

    @classmethod
    def for_port(cls, port: int, token: str, names: Iterable[str] = (), *, secure: bool = False) -> Access:
        """Returns the access of a panel on `port`, reachable by loopback and by the exact host `names`."""
        hosts = {f"{name.lower()}:{port}" for name in (*_LOOPBACK, *names)}
        if port == (443 if secure else 80):
            hosts |= {host.removesuffix(f":{port}") for host in hosts}
        scheme = "https" if secure else "http"
        return cls(
            hosts=frozenset(hosts),
            origins=frozenset(f"{scheme}://{host}" for host in hosts),
            token=token,
            cookie=f"pdpanel-{port}",
            secure=secure,
        )

    def with_names(self, hosts: Iterable[str], origins: Iterable[str]) -> Access:
        """Returns the same access with further exact Host and Origin values."""
        return replace(self, hosts=self.hosts | frozenset(hosts), origins=self.origins | frozenset(origins))

    @property
    def cookie_name(self) -> str:
        """The cookie's name with the prefix that lets browsers hold its promises."""
        if not self.secure:
            return self.cookie
        return f"__Secure-{self.cookie}" if self.root_path else f"__Host-{self.cookie}"

    def set_cookie(self, value: str, *, forget: bool = False) -> str:
        """Returns the Set-Cookie header for `value`, or the one that deletes it."""
        text = f"{self.cookie_name}={value}; Path={self.root_path or '/'}; HttpOnly; SameSite=Strict"
        return text + ("; Secure" if self.secure else "") + ("; Max-Age=0" if forget else "")

    def trusts(self, address: str) -> bool:
        """Returns True when `address` is that of a proxy whose forwarding headers are believed."""
        try:
            peer = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
            peer = peer.ipv4_mapped
        return any(peer.version == network.version and peer in network for network in self.proxies)
