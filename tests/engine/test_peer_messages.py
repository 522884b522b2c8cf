"""The messages between prefill and decode workers: round trips, the exact bytes, and what is refused."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import RemoteProtocolError
from pdpanel.engine.pages import Run
from pdpanel.engine.parallel.orders import PeerRank
from pdpanel.engine.peer.messages import (
    PROTOCOL,
    Abort,
    Ack,
    Arrived,
    Commit,
    Drained,
    Geometry,
    Grant,
    Hello,
    Message,
    Ping,
    Pong,
    ProcessId,
    Refused,
    check_geometry,
    check_hello,
    decode_message,
    encode_message,
)
from pdpanel.engine.transfer.api import EndpointInfo

GEOMETRY = Geometry("abc", "bfloat16", 16, 30, 3, 64)
HELLO = Hello(
    "decode",
    "127.0.0.1:1",
    7,
    GEOMETRY,
    EndpointInfo("tcp", "127.0.0.1:2", 4096, 64, "s"),
    process=ProcessId("b", 4, 5, 6),
)
ROOM = 2**63 - 1
RANK = PeerRank(EndpointInfo("tcp", "h:2", 0, 8), 1, 2, 3)

GOLDEN: list[tuple[Message, str]] = [
    (
        HELLO,
        "89a174a568656c6c6fa4726f6c65a66465636f6465a761646472657373ab3132372e302e302e313a31a565706f636807"
        "a867656f6d6574727987a96d6f64656c5f736861a3616263a56474797065a862666c6f61743136a9706167655f73697a65"
        "10a66c61796572731ea86b765f686561647303a8686561645f64696d40a66c61796f7574aa706167655f6669727374"
        "a8656e64706f696e7485a46b696e64a3746370a773657373696f6eab3132372e302e302e313a32a462617365cd1000"
        "a66c656e67746840a6736563726574a173a870726f746f636f6c04"
        "a770726f6365737384a4626f6f74a162a96e616d65737061636504a370696405a77374617274656406a572616e6b7390",
    ),
    (
        Hello("prefill", "h:1", 0, Geometry("m", "f", 1, 1, 1, 1, "l"), RANK.endpoint, ranks=(RANK,)),
        "89a174a568656c6c6fa4726f6c65a770726566696c6ca761646472657373a3683a31a565706f636800a867656f6d6574727987"
        "a96d6f64656c5f736861a16da56474797065a166a9706167655f73697a6501a66c617965727301a86b765f686561647301"
        "a8686561645f64696d01a66c61796f7574a16ca8656e64706f696e7484a46b696e64a3746370a773657373696f6ea3683a32"
        "a46261736500a66c656e67746808a870726f746f636f6c04a770726f63657373c0a572616e6b739184a8656e64706f696e74"
        "84a46b696e64a3746370a773657373696f6ea3683a32a46261736500a66c656e67746808a567726f757001a5666972737402"
        "a473746f7003",
    ),
    (Refused("no"), "82a174a772656675736564a6726561736f6ea26e6f"),
    (
        Grant(ROOM, ((3, 2), (0, 1)), 40, 12.5),
        "86a174a56772616e74a4726f6f6dcf7fffffffffffffffa472756e7392920302920001ad70726f6d70745f746f6b656e7328"
        "ab6c656173655f756e74696ccb4029000000000000a567726f757000",
    ),
    (
        Commit(1, 42, 3, 1105920, 2),
        "86a174a6636f6d6d6974a4726f6f6d01ab66697273745f746f6b656e2aa5706167657303a56279746573ce0010e000"
        "a677726974657302",
    ),
    (Arrived(1, 32), "83a174a761727269766564a4726f6f6d01a5706167657320"),
    (Ack(1, True), "83a174a361636ba4726f6f6d01a56b6e6f776ec3"),
    (Abort(1, "x"), "83a174a561626f7274a4726f6f6d01a6726561736f6ea178"),
    (Ping(7, 12, 3), "84a174a470696e67a565706f636807aa667265655f70616765730ca5717565756503"),
    (Pong(8, 0, 1), "84a174a4706f6e67a565706f636808aa667265655f706167657300a5717565756501"),
    (Drained(1), "82a174a7647261696e6564a4726f6f6d01"),
]


@pytest.mark.parametrize(("message", "golden"), GOLDEN, ids=lambda value: type(value).__name__)
def test_the_bytes_of_each_message_are_fixed(message: Message, golden: str) -> None:
    """A change here breaks running pairs of different versions: raise PROTOCOL with it."""
    assert encode_message(message).hex() == golden
    assert decode_message(bytes.fromhex(golden)) == message
    assert PROTOCOL == 4


def test_every_kind_of_message_has_golden_bytes() -> None:
    assert {type(message) for message, _ in GOLDEN} == set(Message.__args__)


rooms, counts = st.integers(0, ROOM), st.integers(0, 2**40)
messages = st.one_of(
    st.builds(
        Grant,
        rooms,
        st.lists(st.tuples(counts, st.integers(1, 2**40)), max_size=5).map(tuple),
        counts,
        st.floats(allow_nan=False, allow_infinity=False),
        counts,
    ),
    st.builds(Commit, rooms, counts, counts, counts, counts),
    st.builds(Ack, rooms, st.booleans()),
    st.builds(Abort, rooms, st.text()),
    st.builds(Drained, rooms),
    st.builds(Refused, st.text()),
    st.builds(Ping, counts, counts, counts),
    st.builds(Pong, counts, counts, counts),
)


@given(messages)
def test_messages_survive_the_wire(message: Message) -> None:
    assert decode_message(encode_message(message)) == message


def test_granted_runs_become_pages() -> None:
    assert Grant(1, ((3, 2), (0, 1)), 40, 12.5).pages == (Run(3, 2), Run(0, 1))


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc1",
        b"\x80",
        msgspec.msgpack.encode({"t": "nonsense", "room": 1}),
        msgspec.msgpack.encode({"room": 1}),
        msgspec.msgpack.encode({"t": "grant", "room": 1}),
        msgspec.msgpack.encode({"t": "grant", "room": -1, "runs": [], "prompt_tokens": 1}),
        msgspec.msgpack.encode({"t": "grant", "room": 2**63, "runs": [], "prompt_tokens": 1}),
        msgspec.msgpack.encode({"t": "grant", "room": 1, "runs": [[-1, 2]], "prompt_tokens": 1}),
        msgspec.msgpack.encode({"t": "grant", "room": 1, "runs": [[0, 0]], "prompt_tokens": 1}),
        msgspec.msgpack.encode({"t": "grant", "room": 1, "runs": [[5, -2]], "prompt_tokens": 1}),
        msgspec.msgpack.encode({"t": "commit", "room": 1, "first_token": "7", "pages": 1, "bytes": 1, "writes": 1}),
        encode_message(Drained(1)) + b"\x00",
    ],
)
def test_what_is_no_message_is_refused_in_one_sentence(frame: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as raised:
        decode_message(frame)
    assert str(raised.value).startswith("The peer sent a message that cannot be read")
    assert "\n" not in str(raised.value)


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(frame: bytes) -> None:
    try:
        decode_message(frame)
    except RemoteProtocolError:
        pass


def prefill(**changes: object) -> Hello:
    endpoint = EndpointInfo("tcp", "127.0.0.1:9", 0, 64)
    return msgspec.structs.replace(HELLO, role="prefill", address="127.0.0.1:8", epoch=1, endpoint=endpoint, **changes)


def test_workers_of_one_geometry_fit() -> None:
    assert check_hello(HELLO, prefill()) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_sha", "def"),
        ("dtype", "float32"),
        ("page_size", 32),
        ("layers", 29),
        ("kv_heads", 9),
        ("head_dim", 128),
        ("layout", "layer_first"),
    ],
)
def test_a_geometry_that_differs_is_named_with_both_values(field: str, value: object) -> None:
    theirs = msgspec.structs.replace(GEOMETRY, **{field: value})
    said = check_geometry(GEOMETRY, theirs)
    assert said == f"{field} is {value!r} at the peer and {getattr(GEOMETRY, field)!r} here"
    assert check_hello(HELLO, prefill(geometry=theirs)) == said


def test_every_field_of_the_geometry_is_checked() -> None:
    assert set(Geometry.__struct_fields__) == {
        "model_sha", "dtype", "page_size", "layers", "kv_heads", "head_dim", "layout",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (prefill(protocol=3), "protocol 3"),
        (HELLO, "both are decode workers"),
        (msgspec.structs.replace(prefill(), endpoint=EndpointInfo("mooncake", "h:1", 0, 64)), "transport is mooncake"),
    ],
)
def test_workers_that_do_not_fit_are_told_why(theirs: Hello, said: str) -> None:
    problem = check_hello(HELLO, theirs)
    assert problem is not None and said in problem


def ranks(*spread: tuple[int, int, int], kind: str = "tcp") -> tuple[PeerRank, ...]:
    """Ranks by group, first KV head and the one behind the last."""
    return tuple(PeerRank(EndpointInfo(kind, f"h:{n}", 0, 64), *each) for n, each in enumerate(spread))


@pytest.mark.parametrize(
    "spread",
    [
        ranks((0, 0, 3)),
        ranks((0, 0, 2), (0, 2, 3)),
        ranks((0, 0, 1), (0, 0, 1), (0, 1, 2), (0, 2, 3)),
        ranks((0, 0, 2), (0, 2, 3), (1, 0, 2), (1, 2, 3)),
    ],
)
def test_ranks_that_hold_all_heads_fit(spread: tuple[PeerRank, ...]) -> None:
    theirs = prefill(ranks=spread)
    assert check_hello(HELLO, theirs) is None
    assert theirs.all_ranks == spread


def test_a_worker_that_names_no_ranks_is_one() -> None:
    assert HELLO.all_ranks == (PeerRank(HELLO.endpoint, 0, 0, GEOMETRY.kv_heads),)


@pytest.mark.parametrize(
    ("spread", "said"),
    [
        (ranks((0, 0, 2)), "has KV head 2"),
        (ranks((0, 0, 4)), "KV heads 0 to 4 of 3"),
        (ranks((0, 2, 2)), "KV heads 2 to 2 of 3"),
        (ranks((0, 0, 3), (2, 0, 3)), r"groups are \[0, 2\]"),
        (ranks((1, 0, 3)), r"groups are \[1\]"),
        (ranks((0, 0, 2), (0, 2, 3), (1, 0, 1), (1, 1, 3)), "group 1 shares the KV heads out otherwise"),
        (ranks((0, 0, 3), kind="shm"), "rank 0 is shm"),
    ],
)
def test_ranks_that_do_not_hold_all_heads_alike_are_refused(spread: tuple[PeerRank, ...], said: str) -> None:
    problem = check_hello(HELLO, prefill(ranks=spread))
    assert problem is not None and re.search(said, problem)


def test_a_hello_with_more_ranks_than_any_worker_has_is_no_message() -> None:
    with pytest.raises(RemoteProtocolError):
        decode_message(encode_message(prefill(ranks=ranks(*[(0, 0, 3)] * 1025))))
