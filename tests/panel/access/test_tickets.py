from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.access.tickets import Tickets


def test_a_ticket_works_once() -> None:
    tickets = Tickets()
    ticket = tickets.make(0.0)
    assert tickets.take(ticket, 1.0)
    assert not tickets.take(ticket, 1.0)


def test_a_ticket_is_short_lived() -> None:
    tickets = Tickets(life_s=10.0)
    assert not tickets.take(tickets.make(0.0), 10.0)
    assert tickets.take(tickets.make(0.0), 9.9)


def test_memory_is_bounded_and_the_oldest_goes_first() -> None:
    tickets = Tickets(most=3)
    made = [tickets.make(0.0) for _ in range(5)]
    assert [tickets.take(ticket, 1.0) for ticket in made] == [False, False, True, True, True]


@given(st.text())
def test_nothing_else_is_a_ticket(text: str) -> None:
    tickets = Tickets()
    made = tickets.make(0.0)
    assert tickets.take(text, 0.0) == (text == made)
