"""What a request was before a proxy touched it: its address, its scheme and its path below the panel's root.

Pure: a scope in, a scope out. Forwarding headers are believed from named proxies alone, and taken out in any case, so
that nothing behind the guard can believe them. Called by `guard`.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from ..access.access import Access
from .identity import header_values
from .request_rules import Refusal

__all__ = ["arrive"]

Scope = MutableMapping[str, Any]

_FORWARDING = (b"forwarded", b"x-forwarded-", b"x-real-ip", b"x-original-", b"x-rewrite-url", b"x-http-method-override")


def _is_forwarding(name: bytes) -> bool:
    return name.lower().startswith(_FORWARDING)


def _client_of(scope: Scope, access: Access) -> str:
    """Returns the address of the browser: the last one that no proxy of ours has."""
    peer = str((scope.get("client") or ("",))[0])
    if not access.trusts(peer):
        return peer
    line = ",".join(header_values(scope["headers"], b"x-forwarded-for"))
    for address in (part.strip() for part in reversed(line.split(","))):
        if address and not access.trusts(address):
            return address[:64]
    return peer


def arrive(scope: Scope, access: Access) -> tuple[Scope, Refusal | None]:
    """Returns the scope as the application shall see it, and why it is refused, if it is.

    A path below `access.root_path` loses that; one without it was cut by the proxy already. The client's address is
    in scope["pdpanel.address"].
    """
    peer = str((scope.get("client") or ("",))[0])
    seen = dict(scope)
    seen["pdpanel.address"] = _client_of(scope, access)
    seen["headers"] = [pair for pair in scope["headers"] if not _is_forwarding(pair[0])]
    secure, plain = ("wss", "ws") if scope["type"] == "websocket" else ("https", "http")
    seen["scheme"] = secure if access.secure else plain
    root = access.root_path
    if root and scope["path"].startswith(f"{root}/"):
        seen["path"] = scope["path"][len(root) :]
        raw = scope.get("raw_path") or b""
        # The prefix holds no character that is ever escaped; who escapes it all the same sees no page.
        if raw.startswith(f"{root}/".encode()):
            seen["raw_path"] = raw[len(root) :]
    if access.behind_proxy:
        if not access.trusts(peer):
            return seen, Refusal(403, "The panel is reached through its proxy alone.")
        protocols = header_values(scope["headers"], b"x-forwarded-proto")
        if any(value.strip().lower() not in ("https", "wss") for value in protocols):
            return seen, Refusal(403, "The panel is reached over https alone.")
    return seen, None
