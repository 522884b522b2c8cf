"""Ranks that meet in a real store: they agree, or every one of them is told why not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from pdpanel.engine.config import ServerConfig
from pdpanel.engine.errors import ConfigError, PdpanelError
from pdpanel.engine.parallel.agreement import MeetingPlace, Member, terms_of
from pdpanel.engine.parallel.rendezvous import Welcome, join, meet, open_store

CONFIG = ServerConfig("m", tp_size=3, nnodes=3, dist_init_addr="127.0.0.1:1", dist_timeout=20.0)
WELCOME = Welcome("127.0.0.1", 7, "secret")


def member(rank: int, config: ServerConfig = CONFIG) -> Member:
    return Member(rank, rank, 10 + rank, "h", terms_of(config, {}))


@pytest.fixture
def opened() -> Iterator[tuple[Any, MeetingPlace]]:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    place = MeetingPlace(*bound.getsockname())
    yield open_store(bound, place, 20.0), place


def test_all_ranks_are_welcomed(opened: tuple[Any, MeetingPlace]) -> None:
    store, place = opened
    with ThreadPoolExecutor() as pool:
        joining = [pool.submit(join, place, CONFIG, member(rank)) for rank in (2, 1)]
        assert {rank: one.pid for rank, one in meet(store, CONFIG, member(0), WELCOME).items()} == {1: 11, 2: 12}
        assert [future.result()[1] for future in joining] == [WELCOME, WELCOME]
        shared = joining[0].result()[0]
    store.set("word", "x")
    assert shared.get("word") == b"x"


def test_the_store_listens_on_its_own_address_alone(opened: tuple[Any, MeetingPlace]) -> None:
    _, place = opened
    socket.create_connection(("127.0.0.1", place.port), timeout=5).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", place.port), timeout=5)


def test_a_difference_is_told_to_all(opened: tuple[Any, MeetingPlace]) -> None:
    store, place = opened
    other = replace(CONFIG, page_size=32)
    with ThreadPoolExecutor() as pool:
        joining = [pool.submit(join, place, CONFIG, member(1)), pool.submit(join, place, other, member(2, other))]
        with pytest.raises(ConfigError) as first:
            meet(store, CONFIG, member(0), WELCOME)
        for future in joining:
            with pytest.raises(ConfigError) as told:
                future.result()
            assert str(told.value) == str(first.value)
    assert first.value.field == "--page-size"
    assert "rank 2 on node 2" in str(first.value) and "'32'" in str(first.value) and "with 16" in str(first.value)


def test_a_missing_rank_is_named_and_the_others_are_told(opened: tuple[Any, MeetingPlace]) -> None:
    store, place = opened
    short = replace(CONFIG, dist_timeout=0.3)
    with ThreadPoolExecutor() as pool:
        joining = pool.submit(join, place, CONFIG, member(1))
        with pytest.raises(ConfigError, match=r"rank 2 of node 2 did not come within 0\.3\S* s; start --node-rank 2"):
            meet(store, short, member(0), WELCOME)
        with pytest.raises(ConfigError, match=r"rank 2 of node 2"):
            joining.result()


def test_waiting_ends_when_a_child_has_ended(opened: tuple[Any, MeetingPlace]) -> None:
    store, _ = opened
    ended = threading.Event()

    def failure() -> str:
        return "Rank 1 was ended by SIGKILL." if ended.is_set() else ended.set() or ""

    with pytest.raises(PdpanelError, match="SIGKILL"):
        meet(store, CONFIG, member(0), WELCOME, failure)


def test_a_rank_without_a_first_rank_says_where_it_looked() -> None:
    short = replace(CONFIG, dist_timeout=0.2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = MeetingPlace(*free.getsockname())
        with pytest.raises(ConfigError, match=rf"nobody answers at 127\.0\.0\.1:{place.port} within 0\.2 s"):
            join(place, short, member(1))


def test_a_rank_that_meets_something_else_says_so() -> None:
    """It takes connections and says nothing: torch's store would wait for it without an end."""
    short = replace(CONFIG, dist_timeout=0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = MeetingPlace(*silent.getsockname())
        with pytest.raises(ConfigError, match=rf"something else than rank 0 answers at 127.0.0.1:{place.port}"):
            join(place, short, member(1))
