"""Who may speak to a local server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.http.guard import AllowedHosts, check_request

LOCAL = AllowedHosts.of("127.0.0.1", 30000)
WILDCARD = AllowedHosts.of("0.0.0.0", 30000, names=["gpu-7", "proxy.example:443"])


def status(
    allowed: AllowedHosts = LOCAL,
    host: str | None = "127.0.0.1:30000",
    origin: str | None = None,
    site: str | None = None,
    method: str = "POST",
    content_type: str | None = "application/json",
) -> int:
    refusal = check_request(host, origin, site, method, content_type, allowed)
    if refusal is None:
        return 200
    assert refusal.message.endswith(".")
    assert "\n" not in refusal.message
    return refusal.status


@pytest.mark.parametrize(
    "host", ["127.0.0.1:30000", "localhost:30000", "LOCALHOST:30000", "[::1]:30000", "localhost.:30000"]
)
def test_our_own_names_pass(host: str) -> None:
    assert status(host=host) == 200
    assert status(WILDCARD, host=host) == 200


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example",
        "evil.example:30000",
        "127.0.0.1",
        "127.0.0.1:30001",
        "localhost:30000, evil.example",
        "localhost:30000@evil.example:30000",
        "evil.example/localhost:30000",
        "127.0.0.1.evil.example:30000",
        "localhost:",
        "localhost:x",
        "localhost:99999",
        "[::1:30000",
        "[::1]x:30000",
        "127.0.0.1:30000 ",
        "10.0.0.1:30000",
        "0x7f.1:30000",
    ],
)
def test_other_names_do_not(host: str | None) -> None:
    expected = 200 if host == "127.0.0.1:30000 " else 421  # a server strips spaces around the value
    assert status(host=host) == expected


def test_a_server_on_all_addresses_takes_addresses_and_given_names() -> None:
    assert status(WILDCARD, host="10.1.2.3:30000") == 200
    assert status(WILDCARD, host="[fe80::1]:30000") == 200
    assert status(WILDCARD, host="gpu-7:1234") == 200
    assert status(WILDCARD, host="proxy.example:443") == 200
    assert status(WILDCARD, host="proxy.example:444") == 421
    assert status(WILDCARD, host="evil.example:30000") == 421
    assert status(WILDCARD, host="10.1.2.3:8080") == 421


def test_a_bound_name_is_ours() -> None:
    assert status(AllowedHosts.of("node-1", 30000), host="node-1:30000") == 200
    assert status(AllowedHosts.of("::", 30000), host="[2001:db8::1]:30000") == 200


def test_port_80_may_be_left_out() -> None:
    assert status(AllowedHosts.of("127.0.0.1", 80), host="localhost") == 200


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (None, 200),
        ("http://127.0.0.1:30000", 200),
        ("https://127.0.0.1:30000", 200),
        ("http://localhost:30000", 403),
        ("http://127.0.0.1:30001", 403),
        ("http://127.0.0.1", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("", 403),
        ("file://127.0.0.1:30000", 403),
        ("chrome-extension://127.0.0.1:30000", 403),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_origin_must_be_our_own(origin: str | None, expected: int, method: str) -> None:
    assert status(origin=origin, method=method) == expected


@pytest.mark.parametrize(
    ("site", "expected"), [("cross-site", 403), ("Cross-Site", 403), ("same-origin", 200), ("none", 200), (None, 200)]
)
def test_requests_of_other_sites_do_not_pass(site: str | None, expected: int) -> None:
    assert status(site=site, method="GET") == expected


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=UTF-8", 200),
        ('application/json;charset="utf-8"', 200),
        (None, 415),
        ("", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=application/json", 415),
        ("application/json, text/plain", 415),
        ("application/json; charset=utf-16", 415),
        ("application/jsonx", 415),
    ],
)
def test_what_changes_state_is_json(content_type: str | None, expected: int) -> None:
    assert status(content_type=content_type) == expected
    assert status(content_type=content_type, method="DELETE") == expected
    assert status(content_type=content_type, method="GET") == 200


@given(st.none() | st.text(), st.none() | st.text(), st.none() | st.text(), st.none() | st.text())
def test_garbage_gets_an_answer(
    host: str | None, origin: str | None, site: str | None, content_type: str | None
) -> None:
    assert status(LOCAL, host, origin, site, "POST", content_type) in (200, 403, 415, 421)
