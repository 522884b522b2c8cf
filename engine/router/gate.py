"""Who may ask the router for what: the guard against other people's web pages, and the keys. Pure."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from ..http.guard import AllowedHosts, check_request
from .failure import Answer, error_answer

__all__ = ["Gate"]

# As on the workers: probes and scrapers carry no key.
_OPEN = frozenset({"/health", "/liveness", "/readiness", "/health_generate", "/metrics"})
_ADMIN = frozenset({"/flush_cache", "/abort_request"})
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
# Clients post this one without a body, and then with any content type or none.
_BODILESS = frozenset({"/flush_cache"})


class Gate:
    """The checks of one router.

    Args:
        api_key: asked of all; empty asks nothing.
        admin_api_key: asked for flush, abort and worker changes; empty falls back to `api_key`.
    """

    def __init__(self, allowed: AllowedHosts, api_key: str, admin_api_key: str) -> None:
        self._allowed = allowed
        self._api_key = api_key
        self._admin_api_key = admin_api_key or api_key
        # The host and content type of the last POST that passed: nearly all clients send the same.
        self._usual: tuple[str | None, str | None] = (None, None)

    def refusal(
        self, method: str, path: str, header: Callable[[str], str | None], *, has_body: bool = True
    ) -> Answer | None:
        """Returns why a request is refused, None when it may pass.

        Args:
            header: returns a header by its name in lower case, several of them joined, None without one.
        """
        content_type = header("content-type")
        if not has_body and (path in _BODILESS or method == "DELETE"):
            content_type = "application/json"
        host, origin, site = header("host"), header("origin"), header("sec-fetch-site")
        is_from_no_page = origin is None and site is None
        if not (is_from_no_page and method == "POST" and host is not None and (host, content_type) == self._usual):
            refusal = check_request(host, origin, site, method, content_type, self._allowed)
            if refusal is not None:
                return error_answer(refusal.status, refusal.message)
            if method == "POST":
                self._usual = host, content_type
        if path not in _OPEN and not self._may(method, path, header("authorization")):
            return error_answer(401, "Authorization: missing or not the key; send it as a bearer token.")
        return None

    def _may(self, method: str, path: str, authorization: str | None) -> bool:
        is_admin = path in _ADMIN or (path.startswith("/workers") and method not in _READING)
        key = self._admin_api_key if is_admin else self._api_key
        if not key:
            return True
        scheme, _, given = (authorization or "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(
            given.strip().encode("utf-8", "replace"), key.encode()
        )
