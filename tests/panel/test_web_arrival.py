"""Prefix, proxies and forwarding headers: what the application sees of a request, and what it never sees."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import replace
from typing import Any

import pytest
from asgi_client import Heard, Inner, ask
from pdpanel.panel.access.access import Access
from pdpanel.panel.web.guard import Guard

ROOT = "/user/ann/proxy/7860"
TOKEN = "s3cret-token"
COOKIE = {"cookie": f"pdpanel-7860={TOKEN}"}
BELOW = replace(Access.for_port(7860, TOKEN), root_path=ROOT)
PROXIED = replace(
    Access.for_port(7860, TOKEN, secure=True),
    hosts=frozenset({"panel.example"}),
    origins=frozenset({"https://panel.example"}),
    behind_proxy=True,
    proxies=(ipaddress.ip_network("10.0.0.0/24"),),
)
SECURE = {"host": "panel.example", "cookie": f"__Host-pdpanel-7860={TOKEN}"}


def get(access: Access, path: str, headers: dict[str, str], **options: Any) -> Heard:
    inner = Inner()
    return asyncio.run(ask(Guard(inner, access), inner, path, {"host": "127.0.0.1:7860", **headers}, **options))


@pytest.mark.parametrize("path", ["/api/runs", f"{ROOT}/api/runs"])
def test_prefix_is_cut_where_the_proxy_left_it(path: str) -> None:
    seen = get(BELOW, path, COOKIE).seen
    assert seen is not None
    assert (seen["path"], seen["raw_path"]) == ("/api/runs", b"/api/runs")


@pytest.mark.parametrize("path", [f"{ROOT}x/api", f"/x{ROOT}/api", f"{ROOT}/{ROOT[1:]}/api"])
def test_only_the_prefix_is_cut(path: str) -> None:
    seen = get(BELOW, path, COOKIE).seen
    assert seen is not None
    assert seen["path"] == path.replace(f"{ROOT}/{ROOT[1:]}", ROOT)


def test_root_without_its_slash_is_sent_to_the_page() -> None:
    heard = get(BELOW, ROOT, COOKIE)
    assert (heard.status, heard.header("location")) == (308, [f"{ROOT}/"])


def test_cookie_stays_below_the_prefix() -> None:
    for path in ("/", f"{ROOT}/"):
        heard = get(BELOW, path, {}, query=f"token={TOKEN}")
        assert heard.header("set-cookie") == [f"pdpanel-7860={TOKEN}; Path={ROOT}; HttpOnly; SameSite=Strict"]
        assert heard.header("location") == ["./"]


def test_secure_cookie_below_a_prefix_has_the_name_that_browsers_allow() -> None:
    assert replace(PROXIED, root_path="/x").set_cookie("v").startswith("__Secure-pdpanel-7860=v; Path=/x;")
    assert PROXIED.set_cookie("v").startswith("__Host-pdpanel-7860=v; Path=/;")


FORWARDED = {
    "x-forwarded-host": "evil.test",
    "x-forwarded-proto": "https",
    "x-forwarded-for": "1.2.3.4",
    "forwarded": "host=evil.test",
    "x-original-url": "/api/runs",
    "x-http-method-override": "DELETE",
}


def test_forwarding_headers_reach_nobody() -> None:
    seen = get(BELOW, "/", COOKIE | FORWARDED).seen
    assert seen is not None
    assert {name for name, _ in seen["headers"]} == {b"host", b"cookie"}
    assert (seen["pdpanel.address"], seen["scheme"]) == ("127.0.0.1", "http")


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ("203.0.113.5", "203.0.113.5"),
        ("1.1.1.1, 203.0.113.5", "203.0.113.5"),
        ("1.1.1.1, 203.0.113.5, 10.0.0.2", "203.0.113.5"),
        ("", "10.0.0.1"),
        ("10.0.0.3", "10.0.0.1"),
    ],
)
def test_address_of_the_browser_is_the_last_that_no_proxy_has(line: str, address: str) -> None:
    seen = get(PROXIED, "/", SECURE | {"x-forwarded-for": line, "x-forwarded-proto": "https"}, peer="10.0.0.1").seen
    assert seen is not None
    assert (seen["pdpanel.address"], seen["scheme"]) == (address, "https")


def test_only_the_proxy_may_connect() -> None:
    assert get(PROXIED, "/", SECURE, peer="10.0.0.1").status == 200
    assert get(PROXIED, "/", SECURE, peer="::ffff:10.0.0.1").status == 200
    for peer in ("10.0.1.1", "127.0.0.1", "", "x"):
        assert get(PROXIED, "/", SECURE, peer=peer).status == 403


def test_page_over_plain_http_at_the_proxy_is_refused() -> None:
    assert get(PROXIED, "/", SECURE | {"x-forwarded-proto": "http"}, peer="10.0.0.1").status == 403


def test_frame_is_for_named_pages_alone() -> None:
    inside = {"sec-fetch-site": "same-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
    framed = replace(Access.for_port(7860, TOKEN), frames=frozenset({"http://localhost:8888"}))
    heard = get(framed, "/", COOKIE | inside)
    assert heard.status == 200
    assert "frame-ancestors http://localhost:8888" in heard.header("content-security-policy")[0]
    assert heard.header("x-frame-options") == []
    assert get(replace(framed, frames=frozenset()), "/", COOKIE | inside).status == 403
    # A frame is a page load, and nothing else of that page passes.
    assert (
        get(framed, "/api/runs", COOKIE | inside | {"sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}).status == 403
    )
