"""A prefill and a decode core, a network and a transport that do their worst: the invariants of the engine hold.

What is simulated and what not: each direction of the channel is ordered, as the real one is, but messages may be lost,
come twice, wait for any time, and the channel may break and come back. Writes begin late (though not after the
lease), end in any order, fail, and land after they were reported as failed, up to the transport's bound. Either process
may be killed and restarted, or stand still. A page remembers the room and the tokens that were written into it.
"""

from __future__ import annotations

import pair_heed
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pair_world import EOS, HARD, LEASE, MOMENTS, PAGE, PAGES, Half, World
from pdpanel.engine.actions import SendAck, SendGrant
from pdpanel.engine.lifecycle import DECODE, PREFILL, Event, LifeCycle, State
from pdpanel.engine.request import Bootstrap, Finish, FinishKind, GenerateRequest, SamplingParams
from pdpanel.engine.sequence import Sequence

GONE = Finish(FinishKind.ABORT, message="the client left", http_status=499)


class Pair(World, RuleBasedStateMachine):
    """One prefill worker, one decode worker, and everything that can go wrong between them."""

    @initialize(radix=st.booleans())
    def start(self, radix: bool) -> None:
        self.begin_world(radix)

    # What clients do.

    @rule(prompt=st.integers(1, 40), output=st.integers(1, 12), family=st.integers(0, 1), replay=st.integers(0, 5),
          seconds=st.sampled_from([None, None, 15.0]), decode_first=st.booleans(), delay=st.booleans())  # fmt: skip
    def submit(
        self, prompt: int, output: int, family: int, replay: int, seconds: float | None, decode_first: bool, delay: bool
    ) -> None:
        key, self.next_key = self.next_key, self.next_key + 1
        replayed = tuple(range(1000, 1000 + min(replay, output - 1)))
        ids = tuple(range(100 * family, 100 * family + prompt))
        request = GenerateRequest(
            f"r{key}", ids, SamplingParams(max_new_tokens=output), Bootstrap("127.0.0.1", 1, key),
            replayed_ids=replayed, deadline_s=seconds,
        )  # fmt: skip
        for side in (1, 0) if decode_first else (0, 1):
            cycle: LifeCycle[State, Event] = (PREFILL, DECODE)[side]
            sequence = Sequence(
                key, request, cycle, seed=0, limit=prompt + output, stop_ids=frozenset({EOS}),
                tokens=[*ids, *replayed], state=cycle.start, peer=("", "P")[side],
            )  # fmt: skip
            if seconds is not None:
                sequence.expires_at = self.now + seconds
            self.halves[side].open[key] = sequence
            (self.prefill, self.decode)[side].submit(sequence, self.now)
            self.run_actions()
            if delay:
                self.deliver_to_prefill() if self.to_prefill else None

    @precondition(lambda self: self.next_key > 1)
    @rule(data=st.data(), side=st.integers(0, 1))
    def client_leaves(self, data: st.DataObject, side: int) -> None:
        living = sorted(self.halves[side].open)
        if living:
            sequence = self.halves[side].open[data.draw(st.sampled_from(living))]
            (self.prefill, self.decode)[side].abort(sequence, GONE, self.now)
            pair_heed.left(sequence)
            self.run_actions()

    @precondition(lambda self: self.next_key > 1)
    @rule(data=st.data(), side=st.integers(0, 1))
    def room_comes_again(self, data: st.DataObject, side: int) -> None:
        """A router that uses a room twice while it is at work is refused, and disturbs nobody."""
        core = (self.prefill, self.decode)[side]
        living = [s for s in self.halves[side].open.values() if s.state is not State.CLOSED]
        if not living:
            return
        first = data.draw(st.sampled_from(living))
        key, self.next_key = self.next_key, self.next_key + 1
        again = Sequence(
            key, first.request, first.cycle, seed=0, limit=first.limit, stop_ids=first.stop_ids,
            tokens=list(first.request.prompt_ids), state=first.cycle.start, peer=("", "P")[side],
        )  # fmt: skip
        self.halves[side].open[key] = again
        core.submit(again, self.now)
        assert again.state is State.CLOSED
        self.run_actions()
        assert key in self.halves[side].ended

    # What the network does.

    @rule()
    def reconnect(self) -> None:
        self.connect()

    @precondition(lambda self: self.to_prefill)
    @rule(twice=st.booleans())
    def deliver_to_prefill(self, twice: bool = False) -> None:
        self.connect()
        action, call = self.to_prefill.popleft()
        if isinstance(action, SendAck):  # which answers what was told after the loop's mail was posted
            self.read_mailbox()
        for _ in range(1 + twice):
            call()
            self.run_actions()

    @precondition(lambda self: self.to_decode)
    @rule(twice=st.booleans())
    def deliver_to_decode(self, twice: bool = False) -> None:
        _, call = self.to_decode.popleft()
        for _ in range(1 + twice):
            call()
            self.run_actions()

    @rule(direction=st.integers(0, 1))
    def message_is_lost(self, direction: int) -> None:
        queue = (self.to_prefill, self.to_decode)[direction]
        if queue and self.connected:
            queue.popleft()

    @rule()
    def connection_breaks(self) -> None:
        """Or cannot be made."""
        unsent = [] if self.connected else [a.sequence.room for a, _ in self.to_prefill if isinstance(a, SendGrant)]
        if self.connected:
            self.lose_decode()
        self.connected = False
        self.to_prefill.clear()
        self.to_decode.clear()
        self.lose_prefill(unsent)
        self.run_actions()

    @rule(noticed=st.booleans())
    def prefill_is_restarted(self, noticed: bool) -> None:
        """What it had given to its network still arrives for a moment."""
        if self.connected:
            self.connection_breaks()
        for write in self.zombies + [write for write in self.writes if write.began is not None]:
            write.until = min(write.until, self.now + 0.9)
            if write not in self.zombies:
                self.zombies.append(write)
        self.writes.clear()
        self.halves = Half(), self.halves[1]
        self.epochs[0] += 1
        self.start_prefill()
        if noticed:
            self.decode.peer_dead("P", self.now)
            pair_heed.decode_dead(self.decode_cores, self.now, HARD)

    @rule()
    def decode_is_restarted(self) -> None:
        if self.connected:
            self.connected = False
            self.lose_decode()
        self.to_prefill.clear()
        self.to_decode.clear()
        self.halves = self.halves[0], Half()
        self.epochs[1] += 1
        self.start_decode()
        self.run_actions()

    # What the transport does.

    @precondition(lambda self: self.writes)
    @rule(data=st.data())
    def write_begins(self, data: st.DataObject) -> None:
        self.begin(data.draw(st.sampled_from(self.writes)))

    @precondition(lambda self: any(write.began is not None for write in self.writes))
    @rule(data=st.data(), outcome=st.sampled_from(["ok", "ok", "ok", "quiet", "loud"]), landed=st.integers(0, 3))
    def write_ends(self, data: st.DataObject, outcome: str, landed: int) -> None:
        write = data.draw(st.sampled_from([write for write in self.writes if write.began is not None]))
        if outcome != "ok":
            self.land(write, landed)
        self.settle(write, ok=outcome == "ok", quiet=outcome != "loud")

    @precondition(lambda self: self.posted)
    @rule()
    def prefill_reads_its_mail(self) -> None:
        self.read_mailbox()

    # What time and the schedulers do.

    @rule(seconds=st.sampled_from([0.4, 3.0, 20.0, 60.0]), asleep=st.sampled_from(["", "", "prefill", "decode"]))
    def time_passes(self, seconds: float, asleep: str = "") -> None:
        if asleep == "decode":
            # What is sent to a process that stands still lands when it goes on: as late as it would have, or, where
            # that time is over, within the moments that a host takes to hand over what stands in its buffers.
            awake = self.now + seconds
            for write in (*self.zombies, *(write for write in self.writes if write.began is not None)):
                late = min(write.until + seconds, max(write.until, awake + MOMENTS))
                write.slept += late - write.until
                write.until = late
        while seconds > 0:
            step = min(seconds, 0.3 if self.zombies else 1.0)
            seconds -= step
            for write in self.zombies:
                if write.until - write.slept < self.now + step:
                    self.read(write)
            for write in [write for write in self.zombies if write.until < self.now + step]:
                self.zombies.remove(write)
                self.land(write)
            for write in [write for write in self.writes if write.began is not None and write.until < self.now + step]:
                self.settle(write, ok=True, quiet=True)
            self.now += step
            if asleep != "prefill":
                self.read_mailbox()
                self.prefill.tick(self.now)
            if asleep != "decode":
                self.decode.tick(self.now)
            self.run_actions()

    @rule(side=st.integers(0, 1), token=st.integers(0, EOS), slow=st.sampled_from([False, False, False, True]))
    def step(self, side: int, token: int, slow: bool = False) -> None:
        core = (self.prefill, self.decode)[side]
        if core is self.prefill:
            self.read_mailbox()
        core.tick(self.now)  # as the step loop does before each step when time has passed
        self.run_actions()
        queues = [tuple(one.schedule.waiting) for one in (self.prefill_cores, self.decode_cores)[side]]
        step = core.next_step()
        self.run_actions()
        for waiting in queues if core is self.prefill else ():  # I6
            admitted = [sequence.state is State.RUNNING for sequence in waiting]
            assert admitted == sorted(admitted, reverse=True), "admitted out of order"
        if step is None:
            return
        for span in step.spans:
            assert span.sequence.slot is not None and span.stop <= span.sequence.slot.count * PAGE
        if slow:
            self.time_passes(20.0, ("prefill", "decode")[side])
            if core not in (self.prefill, self.decode):
                return
        core.step_done(step, [token] * sum(span.sample for span in step.spans), self.now)
        self.run_actions()

    @rule(rounds=st.integers(1, 12), transport=st.sampled_from(["none", "begins", "works"]))
    def all_goes_well(self, rounds: int, transport: str) -> None:
        """What usually happens, so that the rest happens in the middle of it."""
        for _ in range(rounds):
            for queue, deliver in (
                (self.to_prefill, self.deliver_to_prefill),
                (self.to_decode, self.deliver_to_decode),
            ):
                if queue:
                    deliver()
            for write in [*self.writes] if transport != "none" else ():
                self.begin(write)
                if transport == "works" and write.began is not None:
                    self.settle(write, ok=True, quiet=True)
            self.step(0, 1)
            self.step(1, 1)

    @invariant()
    def nothing_is_wrong_with_the_pages(self) -> None:
        if hasattr(self, "prefill"):
            assert self.prefill.integrity() == [] and self.decode.integrity() == []
            for core in (*self.prefill_cores, *self.decode_cores):
                for sequence in core.schedule.sequences():
                    sequence.check(PAGE)

    def teardown(self) -> None:
        """Once it is quiet, every request has ended once, and every page is free or a prefix (I1, I2, I7)."""
        if not hasattr(self, "prefill"):
            return
        for _ in range(400 + 60 * self.next_key):
            if self.to_prefill:
                self.deliver_to_prefill()
            elif self.to_decode:
                self.deliver_to_decode()
            elif self.writes:
                self.begin(self.writes[0])
                if self.writes and self.writes[0].began is not None:
                    self.settle(self.writes[0], ok=True, quiet=True)
            else:
                self.step(0, EOS)
                self.step(1, EOS)
                if not (self.to_prefill or self.to_decode or self.writes):
                    self.connect()
                    self.time_passes(20.0)
                    if all(s.state is State.CLOSED for half in self.halves for s in half.open.values()):
                        break
        self.time_passes(LEASE + HARD + 1)
        for half in self.halves:
            for sequence in half.open.values():
                assert sequence.state is State.CLOSED and sequence.key in half.ended, sequence
        for core in (*self.prefill_cores, *self.decode_cores):
            assert core.schedule.slots.free == PAGES
            assert not core.staging.fenced
        assert all(core.staging.free == PAGES for core in self.decode_cores)
        assert all(core.staging.holders <= core.prefix.owners for core in self.prefill_cores)
        self.nothing_is_wrong_with_the_pages()
