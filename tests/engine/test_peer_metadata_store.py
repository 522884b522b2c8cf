"""The metadata store against Mooncake's own server: the same answers, within bounds."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from metadata_servers import LOCAL
from pd_http import free_port
from pdpanel.engine.peer.metadata_store import MOST_VALUE_BYTES, MetadataStore

KEYS = [
    "mooncake/ram/127.0.0.1:17001",
    "mooncake/rpc_meta/127.0.0.1:17001",
    "mooncake/cluster-a/ram/node-b-1f:30000",
    "",
]
VALUES = [b"{}", b'{"rpc_port": 1}', json.dumps({"name": "\u00e9"}, ensure_ascii=False).encode()]
KEYS_TOO_LONG = ["mooncake/" + "a/" * 5 + "b", "mooncake/ram/" + "a" * 257]
STEPS = st.lists(
    st.tuples(st.sampled_from(["GET", "PUT", "DELETE", "POST"]), st.sampled_from(KEYS), st.sampled_from(VALUES)),
    max_size=30,
)


@pytest.fixture(scope="module")
def mooncakes_own() -> Iterator[str]:
    """Address of the server in Mooncake's wheel, in this process."""
    module = pytest.importorskip("mooncake.http_metadata_server")
    port = free_port()
    server = module.KVBootstrapServer(port=port, host=LOCAL)
    thread = server.run()
    while not (server._runner and server._runner.sites):
        assert thread.is_alive()
    yield f"http://{LOCAL}:{port}/metadata"
    server.close()


def ask(url: str, method: str, key: str, value: bytes | None) -> tuple[int, bytes]:
    request = urllib.request.Request(f"{url}?key={urllib.parse.quote(key, safe='')}", value, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@given(steps=STEPS)
def test_any_sequence_of_requests_is_answered_as_mooncakes_server_answers(mooncakes_own: str, steps: list) -> None:
    store = MetadataStore()
    for key in KEYS[:3]:
        ask(mooncakes_own, "DELETE", key, None)
    for method, key, value in steps:
        body = value if method == "PUT" else b""
        theirs = ask(mooncakes_own, method, key, body or None)
        ours = store.answer(method, key, body)
        assert (ours.status, ours.body) == theirs, (method, key)


@pytest.mark.parametrize(
    "key",
    [
        *KEYS_TOO_LONG,
        "x",
        "mooncake",
        "mooncake/",
        "mooncake/ram",
        "mooncake//x",
        "mooncake/ram/a b",
        "mooncake/ram/\n",
        "mooncake/ram/é",
    ],
)
def test_keys_of_another_shape_are_refused(key: str) -> None:
    store = MetadataStore()
    assert store.answer("PUT", key, b"{}").status == 400 and len(store) == 0


@pytest.mark.parametrize("value", [b"", b"[1]", b"1", b"{", b"\xff", b"[" * 100_000, b"<script>"])
def test_values_that_are_not_one_json_object_are_refused(value: bytes) -> None:
    store = MetadataStore()
    assert store.answer("PUT", KEYS[0], value).status == 400 and len(store) == 0


def test_a_value_has_a_largest_size() -> None:
    store = MetadataStore()
    value = json.dumps({"a": "x" * MOST_VALUE_BYTES}).encode()
    assert store.answer("PUT", KEYS[0], value).status == 413 and len(store) == 0


def test_beyond_its_bounds_it_forgets_what_was_asked_for_longest_ago() -> None:
    store = MetadataStore(most_keys=3, most_bytes=100)
    for name in "abc":
        store.answer("PUT", f"mooncake/ram/{name}", b"{}")
    store.answer("GET", "mooncake/ram/a")
    store.answer("PUT", "mooncake/ram/d", b"{}")
    assert [key[-1] for key in store.entries()] == ["c", "a", "d"]
    store.answer("PUT", "mooncake/ram/e", b'{"x":"' + b"y" * 90 + b'"}')
    assert list(store.entries()) == ["mooncake/ram/d", "mooncake/ram/e"]
    store.answer("PUT", "mooncake/ram/f", b'{"x":"' + b"y" * 200 + b'"}')
    assert len(store) == 0, "one that is larger than everything has no room"


def test_what_one_store_held_another_goes_on_with() -> None:
    store = MetadataStore()
    for number, key in enumerate(KEYS[:3]):
        store.answer("PUT", key, VALUES[number])
    assert MetadataStore(json.loads(json.dumps(store.entries()))).entries() == store.entries()
