from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.access.door import exact_origin, plain_root
from pdpanel.panel.hosted.record import Wish
from pdpanel.panel.notebook.place import NotebookServer, find_place, read_server

LOCAL = ("http://localhost:8888", "http://127.0.0.1:8888")


def server(origin: str = "http://localhost:8888", base: str = "/") -> NotebookServer:
    return NotebookServer(origin, base, Path("/run/jpserver-7.json"))


@pytest.mark.parametrize("origin", LOCAL)
def test_a_notebook_on_this_host_may_frame_the_panel_by_either_name(origin: str) -> None:
    place = find_place(server(origin), None, None, None)
    assert place.wish == Wish(frames=LOCAL)
    assert "jpserver-7.json" in place.reason


def test_what_the_person_says_wins() -> None:
    place = find_place(server(), "http://127.0.0.1:9000", None, 7861)
    assert place.wish == Wish(frames=("http://localhost:9000", "http://127.0.0.1:9000"), port=7861)
    assert "origin=" in place.reason


@pytest.mark.parametrize(
    ("found", "root_path", "prefix"),
    [
        (None, None, "/proxy/{port}"),
        (server("http://127.0.0.1:41000", "/user/ann/"), None, "/user/ann/proxy/{port}"),
        (None, "/hub/user/bob/proxy/absolute/{port}/", "/hub/user/bob/proxy/absolute/{port}"),
    ],
)
def test_another_host_sees_it_through_the_notebook_server(
    found: NotebookServer | None, root_path: str | None, prefix: str
) -> None:
    hub = ("https://hub.example",)
    place = find_place(found, "https://hub.example", root_path, None)
    assert place.wish == Wish(origins=hub, root_path=prefix, frames=hub)


def test_a_server_with_a_name_of_its_own_is_such_a_host() -> None:
    assert find_place(server("http://node1:8888"), None, None, None).wish.root_path == "/proxy/{port}"


def test_a_prefix_holds_on_this_host_too() -> None:
    assert find_place(server(), None, "/proxy/{port}", None).wish == Wish(LOCAL, "/proxy/{port}", LOCAL)


def test_nothing_is_opened_by_default() -> None:
    place = find_place(None, None, None, None)
    assert place.wish == Wish()
    assert "origin=" in place.reason


@pytest.mark.parametrize(
    ("origin", "root_path", "field"),
    [
        ("hub.example", None, "origin"),
        ("https://*.example", None, "origin"),
        ("null", None, "origin"),
        ("vscode-webview://abc", None, "origin"),
        ("https://hub.example", "user/../x", "root_path"),
        ("https://hub.example", "//evil.test", "root_path"),
        (None, "/x", "root_path"),
    ],
)
def test_what_is_no_address_is_one_sentence(origin: str | None, root_path: str | None, field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_place(None, origin, root_path, None)
    assert caught.value.field in (field, "--root-path")


@given(st.text(max_size=30))
def test_whatever_is_given_only_exact_origins_come_out(text: str) -> None:
    try:
        wish = find_place(None, text, None, None).wish
    except ConfigError:
        return
    for origin in (*wish.frames, *wish.origins):
        assert exact_origin("origin", origin) == origin and "*" not in origin and " " not in origin
    assert plain_root(wish.root_path.replace("{port}", "1")) == wish.root_path.replace("{port}", "1")


@pytest.mark.parametrize(
    ("url", "origin", "base"),
    [
        ("http://localhost:8888/", "http://localhost:8888", "/"),
        ("https://127.0.0.1:8889/user/ann/", "https://127.0.0.1:8889", "/user/ann/"),
        ("http://node1:80/lab/u%40x/", "http://node1:80", "/lab/u@x/"),
    ],
)
def test_the_servers_own_file_is_read(tmp_path: Path, url: str, origin: str, base: str) -> None:
    file = tmp_path / "jpserver-7.json"
    file.write_text(json.dumps({"url": url, "pid": 7}))
    assert read_server(tmp_path, 7) == NotebookServer(origin, base, file)
    assert read_server(tmp_path, 8) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"url": 3}', '{"url": "file:///x"}', '{"url": "http://*:1/"}'])
def test_a_file_of_something_else_is_no_server(tmp_path: Path, text: str) -> None:
    (tmp_path / "jpserver-7.json").write_text(text)
    assert read_server(tmp_path, 7) is None
