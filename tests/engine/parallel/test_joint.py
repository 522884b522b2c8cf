"""Several writes as one: the end comes once, with the worst of all parts."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import RankError
from pdpanel.engine.pages import Run
from pdpanel.engine.parallel.carrier import RankCarrier
from pdpanel.engine.parallel.carriers import WorkerCarrier
from pdpanel.engine.parallel.joint import Joint
from pdpanel.engine.parallel.orders import Order, Settle, Write, Written
from pdpanel.engine.parallel.shipment import RankPlace, Shipment

ends = st.builds(
    Written, st.just(7), st.integers(0, 4), st.booleans(), st.booleans(), st.sampled_from(["", "a", "b"]),
    st.integers(0, 100), st.floats(0, 10), st.integers(0, 9),
)  # fmt: skip


@given(st.lists(ends, min_size=1, max_size=5), st.data())
def test_the_whole_is_as_good_as_its_worst_part(parts: list[Written], data: st.DataObject) -> None:
    told: list[Written] = []
    joint = Joint(7, 3, range(len(parts)), told.append)
    order = data.draw(st.permutations(range(len(parts))))
    for number in order:
        assert not told
        joint.add(number, parts[number])
        if number != order[-1]:
            joint.add(number, parts[number])  # it comes again
    joint.add(99, parts[0])
    (whole,) = told
    assert (whole.ticket, whole.rank) == (7, 3)
    assert whole.ok is all(part.ok for part in parts)
    assert whole.quiet is all(part.quiet for part in parts)
    assert whole.bytes == sum(part.bytes for part in parts)
    assert whole.writes == sum(part.writes for part in parts)
    assert whole.seconds == max(part.seconds for part in parts)
    assert whole.error == next((parts[number].error for number in order if parts[number].error), "")


class Ranks:
    """Followers that only write down their orders, and what is heard of tickets."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.listeners: dict[int, Any] = {}
        self.gone_rank = ""

    def send(self, order: Order) -> None:
        if self.gone_rank:
            raise RankError(self.gone_rank)
        self.orders.append(order)

    def gone(self, wait_s: float) -> str:
        return self.gone_rank

    def listen(self, ticket: int, callback: Any) -> None:
        self.listeners[ticket] = callback

    def forget(self, ticket: int) -> None:
        del self.listeners[ticket]

    def say(self, written: Written) -> None:
        self.listeners[written.ticket](written)


class Own:
    """The first rank's carrier: it ends its writes at once."""

    place = RankPlace(heads=(range(1), range(1, 2)))

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks

    def carry(self, order: Order) -> None:
        if isinstance(order, Write | Settle) and order.group == 0:
            self._ranks.say(Written(order.ticket, 0, True, True, "", 10, 0.5, 1))


SHIPMENT = Shipment("p", 0, 0, (Run(0, 2),), (Run(5, 2),), (Run(4, 3),), 1, 99.0)


def carrier() -> tuple[WorkerCarrier, Ranks]:
    ranks = Ranks()
    return WorkerCarrier(cast("RankCarrier", Own(ranks)), ((0, 1), (2, 3)), ranks, ranks), ranks


def test_a_write_has_ended_when_all_ranks_of_its_group_have() -> None:
    worker, ranks = carrier()
    told: list[Written] = []
    worker.write(SHIPMENT, told.append)
    (order,) = ranks.orders
    assert isinstance(order, Write) and Shipment.of(order) == SHIPMENT
    assert not told
    ranks.say(Written(order.ticket, 1, True, True, "", 20, 0.2, 2))
    assert told == [Written(order.ticket, 0, True, True, "", 30, 0.5, 3)]
    assert not ranks.listeners


def test_a_rank_that_dies_may_still_write() -> None:
    worker, _ = carrier()
    told: list[Written] = []
    worker.write(SHIPMENT, told.append)
    worker.lost(2)
    assert not told, "it has no part in this group"
    worker.lost(1)
    (whole,) = told
    assert not whole.ok and not whole.quiet and "rank 1 has died" in whole.error


def test_orders_that_do_not_arrive_fail_the_write_and_nothing_else() -> None:
    worker, ranks = carrier()
    told: list[Written] = []
    ranks.gone_rank = "rank 1 was killed"
    worker.write(SHIPMENT, told.append)
    (whole,) = told
    assert not whole.ok and not whole.quiet and whole.error == "rank 1 was killed"


@pytest.mark.parametrize("group", [0, 1])
def test_settled_is_when_the_last_rank_of_the_group_says_so(group: int) -> None:
    worker, ranks = carrier()
    told: list[str] = []
    worker.when_settled(group, lambda: told.append("settled"))
    (order,) = ranks.orders
    assert isinstance(order, Settle) and order.group == group
    for rank in ((1,), (2, 3))[group]:
        assert not told
        ranks.say(Written(order.ticket, rank, True, True, "", 0, 0.0, 0))
    assert told == ["settled"]
