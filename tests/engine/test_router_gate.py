"""Who may ask the router; what it remembers of the last request lets nobody else in."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from pdpanel.engine.http.guard import AllowedHosts
from pdpanel.engine.router.gate import Gate

GOOD = {"host": "127.0.0.1:30000", "content-type": "application/json", "authorization": "Bearer key"}


def status(gate: Gate, changed: Mapping[str, str | None], method: str = "POST", path: str = "/generate") -> int:
    headers: dict[str, str | None] = {**GOOD, **{name.replace("_", "-"): value for name, value in changed.items()}}
    refusal = gate.refusal(method, path, headers.get)
    return 200 if refusal is None else refusal.status


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, 200),
        ({"host": "evil.example"}, 421),
        ({"host": None}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:30000"}, 200),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"content_type": "text/plain"}, 415),
        ({"content_type": None}, 415),
        ({"authorization": "Bearer other"}, 401),
        ({"authorization": "Bearer \udce9"}, 401),
        ({"authorization": None}, 401),
    ],
)
def test_a_request_is_judged_alike_whatever_passed_before(changed: dict[str, str | None], expected: int) -> None:
    gate = Gate(AllowedHosts.of("127.0.0.1", 30000), "key", "")
    assert status(gate, changed) == expected
    assert status(gate, {}) == 200
    assert status(gate, changed) == expected
    assert status(gate, {}) == 200


def test_what_a_get_may_have_is_not_remembered_for_a_post() -> None:
    gate = Gate(AllowedHosts.of("127.0.0.1", 30000), "", "")
    assert status(gate, {"content_type": None}, "GET", "/workers") == 200
    assert status(gate, {"content_type": None}) == 415


@pytest.mark.parametrize(
    ("method", "path", "key", "expected"),
    [
        ("GET", "/metrics", None, 200),
        ("GET", "/workers", "Bearer key", 200),
        ("POST", "/workers", "Bearer key", 401),
        ("POST", "/workers", "Bearer admin", 200),
        ("POST", "/flush_cache", "Bearer key", 401),
        ("POST", "/generate", "Bearer admin", 401),
    ],
)
def test_the_admin_key_is_asked_for_what_changes_something(
    method: str, path: str, key: str | None, expected: int
) -> None:
    gate = Gate(AllowedHosts.of("127.0.0.1", 30000), "key", "admin")
    assert status(gate, {"authorization": key}, method, path) == expected


def test_only_a_post_to_flush_may_go_without_a_type_when_it_has_no_body() -> None:
    gate = Gate(AllowedHosts.of("127.0.0.1", 30000), "", "")
    headers = {"host": GOOD["host"]}
    for path, is_refused in (("/flush_cache", False), ("/generate", True)):
        assert (gate.refusal("POST", path, headers.get, has_body=False) is not None) is is_refused
    assert gate.refusal("POST", "/flush_cache", headers.get) is not None
