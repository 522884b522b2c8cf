"""The headers that every answer of the panel carries: what its page may load, and who may show it.

Pure; made once by the guard. 'unsafe-inline' and 'unsafe-eval' are Gradio's needs; everything else stays on our own
origin.
"""

from __future__ import annotations

from ..access.access import Access

__all__ = ["security_headers"]

_CSP = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:; worker-src 'self' blob:; "
    "connect-src 'self' {sockets}; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors {frames}"
)
_FIXED: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
# One day: a browser holds it for every port of the host, and a certificate that is taken away must not lock out long.
_HSTS = (b"strict-transport-security", b"max-age=86400")


def security_headers(access: Access) -> list[tuple[bytes, bytes]]:
    """Returns the headers for a panel with this access."""
    # A page's origin names its WebSockets; CSP has no way to write an IPv6 address, and browsers of today take 'self'
    # for WebSockets too.
    sockets = {"ws" + origin.removeprefix("http") for origin in access.origins if "[" not in origin}
    frames = " ".join(sorted(access.frames)) or "'none'"
    policy = _CSP.format(sockets=" ".join(sorted(sockets)), frames=frames).encode()
    headers = [*_FIXED, (b"content-security-policy", policy)]
    if not access.frames:
        headers.append((b"x-frame-options", b"DENY"))
    if access.secure:
        headers.append(_HSTS)
    return headers
