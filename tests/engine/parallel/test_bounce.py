"""The bounce area: nobody shares a byte, everything comes back, and as much is given as there is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.pages import Run
from pdpanel.engine.parallel.bounce import Bounce

SIZE = 48


@st.composite
def deeds(draw: st.DrawFn) -> list[tuple[str, int, int, int]]:
    """(what, ticket, pages, width), with time going on by one each."""
    what = st.sampled_from(["take", "take", "release", "hold"])
    return draw(st.lists(st.tuples(what, st.integers(1, 5), st.integers(1, 12), st.integers(1, 5)), max_size=40))


@given(deeds())
def test_no_two_tickets_share_a_head_and_all_comes_back(plan: list[tuple[str, int, int, int]]) -> None:
    bounce, owned, until = Bounce(SIZE), dict[int, list[Run]](), dict[int, int]()
    for now, (what, ticket, pages, width) in enumerate(plan):
        if what == "take":
            for held in [held for held, end in until.items() if now >= end]:
                del until[held], owned[held]
            runs = bounce.take(ticket, pages, width, now)
            assert all(run.count % width == 0 and 0 <= run.start and run.stop <= SIZE for run in runs)
            got = sum(run.count for run in runs) // width
            assert got <= pages
            if runs:
                owned.setdefault(ticket, []).extend(runs)
            used = [head for each in owned.values() for run in each for head in range(run.start, run.stop)]
            assert len(used) == len(set(used)), "a head has two owners"
            if got < pages:
                free = sorted(set(range(SIZE)) - set(used))
                longest = best = 0
                for place, head in enumerate(free):
                    longest = longest + 1 if place and free[place - 1] == head - 1 else 1
                    best = max(best, longest)
                assert best < width, "there was more room"
        elif what == "release":
            bounce.release(ticket)
            owned.pop(ticket, None)
            until.pop(ticket, None)
        else:
            bounce.hold(ticket, now + 3)
            if ticket in owned:
                until[ticket] = now + 3
        living = [each for one, each in owned.items() if now < until.get(one, now + 1)]
        assert bounce.in_use(now) == sum(run.count for each in living for run in each)
    for ticket in range(1, 6):
        bounce.release(ticket)
    assert bounce.free == SIZE
    assert bounce.take(1, SIZE, 1, len(plan)) == (Run(0, SIZE),)


def test_what_fits_as_one_is_not_split() -> None:
    bounce = Bounce(10)
    assert bounce.take(1, 2, 2, 0.0) == (Run(0, 4),)
    assert bounce.take(2, 1, 2, 0.0) == (Run(4, 2),)
    bounce.release(1)
    assert bounce.take(3, 2, 2, 0.0) == (Run(0, 4),)
    assert bounce.take(4, 9, 3, 0.0) == (Run(6, 3),)


def test_a_worker_without_bounce_memory_gives_none() -> None:
    assert Bounce(0).take(1, 3, 1, 0.0) == ()


def test_what_may_still_be_read_waits_for_its_time() -> None:
    bounce = Bounce(4)
    bounce.take(1, 4, 1, 0.0)
    bounce.hold(1, 30.0)
    assert bounce.take(2, 1, 1, 29.9) == ()
    assert bounce.take(2, 1, 1, 30.0) == (Run(0, 1),)
