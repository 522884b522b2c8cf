"""Bodies pass untouched but for the fields that the router owns."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import RequestError
from pdpanel.engine.router.body import draw_room, is_header_safe, read_body
from pdpanel.engine.router.config import Role, parse_worker_url

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
PREFILL = parse_worker_url("--prefill", "http://127.0.0.1:3", Role.PREFILL, 8998)
OURS = {"bootstrap_host": "127.0.0.1", "bootstrap_port": 8998, "bootstrap_room": 5, "rid": "r"}


@given(st.dictionaries(st.text() | st.sampled_from(sorted(OURS)), JSON, max_size=5), st.sampled_from([None, 1]))
def test_our_fields_win_and_all_others_pass(fields: dict[str, object], indent: int | None) -> None:
    fields.pop("rid", None)
    body = read_body("/generate", json.dumps(fields, indent=indent).encode(), disaggregated=True)
    assert json.loads(body.with_fields(OURS)) == {**fields, **OURS}


def test_the_clients_bytes_are_kept() -> None:
    raw = b' {"text": "\\u00e9 \xc3\xa9",   "big": 1e400, "n": 1.00, "x": 123456789012345678901234567890} \n'
    body = read_body("/generate", raw, disaggregated=True)
    assert body.with_fields({"rid": "r"}) == raw.strip()[:-1] + b',"rid":"r"}'
    assert body.with_fields({}) == raw.strip()


@pytest.mark.parametrize("text", ["{}", "{ }"])
def test_an_empty_object_takes_fields_too(text: str) -> None:
    assert json.loads(read_body("/generate", text.encode(), disaggregated=True).with_fields({"a": 1})) == {"a": 1}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[1]",
        b"3",
        b'"x"',
        b"null",
        b"{",
        b"{'a': 1}",
        b"\xff{}",
        "{}".encode("utf-16"),
        b"[" * 100_000,
        b"\xef\xbb\xbf{}",
        b"1" * 5000,
    ],
)
def test_what_is_no_json_object_is_refused_in_one_sentence(raw: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        read_body("/generate", raw, disaggregated=True)
    assert caught.value.http_status == 400
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("route", "fields", "batch", "is_single"),
    [
        ("/generate", {"text": "a"}, None, True),
        ("/generate", {"input_ids": [1, 2]}, None, True),
        ("/generate", {"text": ["a", "b"]}, 2, False),
        ("/generate", {"input_ids": [[1], [2], [3]]}, 3, False),
        ("/generate", {"text": "a", "sampling_params": {"n": 2}}, None, False),
        ("/v1/completions", {"prompt": "a"}, None, True),
        ("/v1/completions", {"prompt": [1, 2]}, None, True),
        ("/v1/completions", {"prompt": ["a"]}, 1, True),
        ("/v1/completions", {"prompt": ["a", "b"]}, 2, False),
        ("/v1/completions", {"prompt": "a", "n": 2}, None, False),
        ("/v1/chat/completions", {"messages": [], "n": 1}, None, True),
        ("/v1/chat/completions", {"messages": [], "n": 3}, 3, False),
        ("/v1/chat/completions", {"messages": [], "n": True}, None, True),
    ],
)
def test_rooms_are_scalars_or_lists_as_sglangs_router_makes_them(
    route: str, fields: dict[str, object], batch: int | None, is_single: bool
) -> None:
    body = read_body(route, json.dumps(fields).encode(), disaggregated=True)
    assert (body.batch, body.is_single) == (batch, is_single)
    room = body.draw_rooms()
    made = body.bootstrap(PREFILL, room)
    if batch is None:
        assert made == {"bootstrap_host": "127.0.0.1", "bootstrap_port": 8998, "bootstrap_room": room}
    else:
        assert made["bootstrap_host"] == ["127.0.0.1"] * batch and made["bootstrap_room"] == room
        assert isinstance(room, list) and len(set(room)) == batch


def test_rooms_are_fresh_and_never_zero() -> None:
    rooms = {draw_room() for _ in range(1000)}
    assert len(rooms) == 1000 and all(0 < room < 2**63 for room in rooms)


@pytest.mark.parametrize(
    ("name", "safe"), [("a-1", True), ("a b", False), ("a\r\nb", False), ("é", False), ("", False)]
)
def test_only_plain_names_become_headers(name: str, safe: bool) -> None:
    assert is_header_safe(name) is safe
    assert not is_header_safe(7) and not is_header_safe("x" * 257)


@pytest.mark.parametrize(
    ("rid", "kept", "has"), [("abc", "abc", True), ("", "", False), (None, "", False), (["a"], "", True)]
)
def test_the_clients_own_rid_is_kept(rid: object, kept: str, has: bool) -> None:
    body = read_body("/generate", json.dumps({"text": "a", "rid": rid}).encode(), disaggregated=True)
    assert (body.rid, body.has_rid) == (kept, has)
    sent = json.loads(body.with_fields({} if has else {"rid": "ours"}))
    assert sent["rid"] == (rid if has else "ours")
