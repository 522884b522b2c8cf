"""Halves of a pair that go on without one of their ranks, in the midst of everything that pair_machine does to them.

What a worker does then in one process: its core goes on with other memory, its links are closed, and to the other half
it is a worker that was restarted. What was under way of its own is told as failed only afterwards.
"""

from __future__ import annotations

from functools import partial

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule
from pair_machine import Pair
from pair_world import PAGES, Write
from pdpanel.engine.lifecycle import State

# What closed links had sent may still stand in decode's buffers.
_LATE_S = 0.5


class ElasticPair(Pair):
    """Both halves lose ranks."""

    @rule(heard_first=st.booleans())
    def prefill_loses_a_rank(self, heard_first: bool) -> None:
        was_connected = self.connected
        if was_connected and heard_first:
            self.connection_breaks()
        given_up, self.writes = self.writes, []
        for write in [*self.zombies, *(write for write in given_up if write.began is not None)]:
            write.until = min(write.until, self.now + _LATE_S)
            if write not in self.zombies:
                self.zombies.append(write)
        for sent in self.sent.values():
            sent.end()
        self.sent.clear()
        self.source = {}
        self.prefill.restart()  # type: ignore[union-attr]
        (core,) = self.prefill_cores
        assert core.staging.free == core.schedule.slots.free == PAGES and not core.early_grants
        assert all(one.state is State.AWAIT_GRANT for one in core.rooms.values())
        self.run_actions()
        if was_connected and not heard_first:
            self.connection_breaks()
        self.posted.extend(partial(self.end_write, write) for write in given_up)
        self.epochs[0] += 1

    def end_write(self, write: Write) -> None:
        self.hear_written(write, False, True)

    @rule(heard_first=st.booleans())
    def decode_loses_a_rank(self, heard_first: bool) -> None:
        if heard_first:
            self.connection_breaks()
        self.memory = {}
        self.decode.restart()  # type: ignore[union-attr]
        (core,) = self.decode_cores
        assert core.staging.free == core.schedule.slots.free == PAGES and not core.fences and not core.granted
        self.run_actions()
        if not heard_first:
            self.connection_breaks()
        self.epochs[1] += 1


TestElasticPair = ElasticPair.TestCase
TestElasticPair.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
