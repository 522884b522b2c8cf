"""A prefill and a decode core, a network and a transport that do their worst: the invariants of the engine hold.

What is simulated and what not: each direction of the channel is ordered, as the real one is, but messages may be lost,
come twice, wait for any time, and the channel may break and come back. Writes begin late (though not after the
lease), end in any order, fail, and land after they were reported as failed, up to the transport's bound. Either process
may be killed and restarted, or stand still. A page remembers the room and the tokens that were written into it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pdpanel.engine.actions import (
    Action,
    Emit,
    ExportPages,
    FenceLifted,
    ImportPages,
    SendAbort,
    SendAck,
    SendCommit,
    SendDrained,
    SendGrant,
    WritePages,
)
from pdpanel.engine.decode_core import DecodeCore
from pdpanel.engine.lifecycle import DECODE, PREFILL, LifeCycle, State
from pdpanel.engine.pages import Owner, PagePool, Runs
from pdpanel.engine.prefill_core import PrefillCore
from pdpanel.engine.request import Bootstrap, Finish, FinishKind, GenerateRequest, SamplingParams
from pdpanel.engine.schedule import Schedule
from pdpanel.engine.sequence import Sequence

PAGE, PAGES, CHUNK, EOS = 4, 24, 16, 7
LEASE, HARD = 50.0, 30.0
# A write ends within this; the rest of the hard timeout is for sleeps that are too short to be seen.
BOUND = HARD - 6.0
GONE = Finish(FinishKind.ABORT, message="the client left", http_status=499)

Call = Callable[[], object]
Content = tuple[int, tuple[int, ...]]  # room, tokens up to the page's end


def pages_of(runs: Runs) -> list[int]:
    return [page for run in runs for page in range(run.start, run.stop)]


def content(sequence: Sequence, index: int) -> tuple[int, ...]:
    """What stands in the page with this index of a prompt: its KV depends on all tokens before, too."""
    return tuple(sequence.tokens[: min((index + 1) * PAGE, sequence.prefill_tokens)])


@dataclass(eq=False)
class Write:
    """One write on its way.

    Attributes:
        memory: decode's memory at the time; a restarted process has another one.
        began: None while it waits behind others.
        until: it may land until then.
    """

    sequence: Sequence
    staging: list[int]
    target: list[int]
    source: dict[int, tuple[int, ...]]
    memory: dict[int, Content]
    core: PrefillCore
    began: float | None = None
    until: float = 0.0


@dataclass
class Half:
    """What clients of one worker see."""

    open: dict[int, Sequence] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)

    def hear(self, emit: Emit) -> None:
        if emit.key not in self.open:
            return  # its process was killed: whoever listened knows
        assert emit.key not in self.ended, "something came after the end"
        if emit.finish is not None or emit.end:
            self.ended.add(emit.key)


class Pair(RuleBasedStateMachine):
    """One prefill worker, one decode worker, and everything that can go wrong between them."""

    @initialize(radix=st.booleans())
    def start(self, radix: bool) -> None:
        self.now = 0.0
        self.radix = radix
        self.connected = False
        self.next_key = 1
        self.to_prefill: deque[tuple[Action, Call]] = deque()
        self.to_decode: deque[tuple[Action, Call]] = deque()
        self.epochs, self.known_epochs = [0, 0], [0, 0]
        self.writes: list[Write] = []
        self.zombies: list[Write] = []
        self.halves = Half(), Half()
        self.start_prefill()
        self.start_decode()

    def schedule(self, reserve: int) -> Schedule:
        return Schedule(PagePool(PAGES), page_size=PAGE, chunk_tokens=CHUNK, max_running=4, reserve_tokens=reserve)

    def start_prefill(self) -> None:
        self.source: dict[int, tuple[int, ...]] = {}
        self.prefill = PrefillCore(
            self.schedule(0), PagePool(PAGES), bootstrap_timeout_s=60, hard_timeout_s=HARD, radix_cache=self.radix
        )

    def start_decode(self) -> None:
        self.memory: dict[int, Content] = {}
        self.decode = DecodeCore(
            self.schedule(6), PagePool(PAGES), staging_share=0.5, waiting_timeout_s=LEASE, fence_s=HARD
        )

    def run_actions(self) -> None:
        actions, self.prefill.actions = self.prefill.actions, []
        for action in actions:
            match action:
                case Emit():
                    self.halves[0].hear(action)
                case ExportPages(sequence=sequence, slot_page=slot_page, staging=staging, target=target):
                    assert sequence.slot is None or slot_page >= sequence.slot.start
                    for page, index in self.indexed(sequence, staging, target):
                        self.source[page] = content(sequence, index)
                    self.write(sequence, staging, target)
                case WritePages(sequence=sequence, staging=staging, target=target):
                    self.write(sequence, staging, target)
                case ImportPages(sequence=sequence, staging=staging):  # of the prefix cache
                    for index, page in enumerate(pages_of(staging)):
                        assert self.source[page] == content(sequence, index), "the prefix cache has other tokens"
                case SendCommit(sequence=sequence, first_token=token):
                    room = sequence.room
                    self.tell_decode(action, lambda r=room, t=token: self.decode.committed("P", r, t, self.now))
                case SendDrained(room=room):
                    self.tell_decode(action, lambda r=room: self.decode.drained("P", r, self.now))
                case SendAbort(room=room, reason=reason):
                    self.tell_decode(action, lambda r=room, w=reason: self.decode.peer_aborted("P", r, w, self.now))
                case _:
                    raise AssertionError(action)
        actions, self.decode.actions = self.decode.actions, []
        for action in actions:
            match action:
                case Emit():
                    self.halves[1].hear(action)
                case ImportPages(sequence=sequence, staging=staging):  # I5
                    for index, page in enumerate(pages_of(staging)):
                        assert self.memory[page] == (sequence.room, content(sequence, index)), "a page was not written"
                case SendGrant(sequence=sequence):
                    assert not any(s.key < sequence.key for s in self.decode.awaiting), "I6: not in order"
                    grant = (sequence.room, sequence.staging, sequence.deadline)
                    self.tell_prefill(action, lambda g=grant: self.prefill.grant("D", *g, self.now))
                case SendAck(room=room, known=known):
                    self.tell_prefill(action, lambda r=room, k=known: self.prefill.acknowledged("D", r, k, self.now))
                case SendAbort(room=room, reason=reason):
                    self.tell_prefill(action, lambda r=room, w=reason: self.prefill.peer_aborted("D", r, w, self.now))
                case FenceLifted(room=room):
                    assert room not in self.decode.fences
                case _:
                    raise AssertionError(action)

    def tell_prefill(self, action: Action, call: Call) -> None:
        self.to_prefill.append((action, call))  # without a connection it waits for one

    def tell_decode(self, action: Action, call: Call) -> None:
        if self.connected:  # decode alone connects
            self.to_decode.append((action, call))

    def indexed(self, sequence: Sequence, staging: Runs, target: Runs) -> list[tuple[int, int]]:
        granted = pages_of(sequence.target)
        return [(page, granted.index(to)) for page, to in zip(pages_of(staging), pages_of(target), strict=True)]

    def write(self, sequence: Sequence, staging: Runs, target: Runs) -> None:
        assert self.now < sequence.lease_until
        self.writes.append(Write(sequence, pages_of(staging), pages_of(target), self.source, self.memory, self.prefill))

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
            cycle: LifeCycle[State, object] = (PREFILL, DECODE)[side]
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

    def connect(self) -> None:
        if self.connected:
            return
        self.connected = True
        if self.known_epochs[0] == self.epochs[0]:
            self.decode.peer_joined("P", self.now)
        else:
            self.decode.peer_replaced("P", self.now)
        if self.known_epochs[1] != self.epochs[1]:
            self.prefill.peer_replaced("D", self.now)
        self.known_epochs = [*self.epochs]
        self.run_actions()

    @rule()
    def reconnect(self) -> None:
        self.connect()

    @precondition(lambda self: self.to_prefill)
    @rule(twice=st.booleans())
    def deliver_to_prefill(self, twice: bool = False) -> None:
        self.connect()
        _, call = self.to_prefill.popleft()
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
            self.prefill.peer_lost("D", "decode went away", self.now)
        self.connected = False
        self.to_prefill.clear()
        self.to_decode.clear()
        self.decode.peer_lost("P", "prefill went away", self.now, unsent)
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

    @rule()
    def decode_is_restarted(self) -> None:
        if self.connected:
            self.connected = False
            self.prefill.peer_lost("D", "decode went away", self.now)
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

    def begin(self, write: Write) -> None:
        if write.began is None and self.now >= write.sequence.lease_until:
            self.settle(write, ok=False, quiet=True)
        elif write.began is None:
            write.began, write.until = self.now, self.now + BOUND

    def land(self, write: Write, count: int | None = None) -> None:
        sequence = write.sequence
        granted = pages_of(sequence.target)
        for page, target in [*zip(write.staging, write.target, strict=True)][:count]:
            tokens = content(sequence, granted.index(target))
            assert write.source[page] == tokens, "a source page was given away while it was read"
            if write.memory is self.memory:  # I4
                owners = self.decode.staging.owners(target)
                assert owners == {Owner.writer(sequence.room)}, f"a write hit a page that is not its: {owners}"
                self.memory[target] = (sequence.room, tokens)

    def settle(self, write: Write, *, ok: bool, quiet: bool) -> None:
        self.writes.remove(write)
        if ok:
            self.land(write)
        elif not quiet:
            self.zombies.append(write)
        write.core.write_done(write.sequence, ok=ok, quiet=quiet, error="it broke", now=self.now)
        self.run_actions()

    @precondition(lambda self: any(write.began is not None for write in self.writes))
    @rule(data=st.data(), outcome=st.sampled_from(["ok", "ok", "ok", "quiet", "loud"]), landed=st.integers(0, 3))
    def write_ends(self, data: st.DataObject, outcome: str, landed: int) -> None:
        write = data.draw(st.sampled_from([write for write in self.writes if write.began is not None]))
        if outcome != "ok":
            self.land(write, landed)
        self.settle(write, ok=outcome == "ok", quiet=outcome != "loud")

    # What time and the schedulers do.

    @rule(seconds=st.sampled_from([0.4, 3.0, 20.0, 60.0]), asleep=st.sampled_from(["", "", "prefill", "decode"]))
    def time_passes(self, seconds: float, asleep: str = "") -> None:
        if asleep == "decode":  # what is sent to a process that stands still lands when it goes on
            for write in (*self.zombies, *self.writes):
                write.until += seconds
        while seconds > 0:
            step = min(seconds, 0.3 if self.zombies else 1.0)
            seconds -= step
            for write in [write for write in self.zombies if write.until < self.now + step]:
                self.zombies.remove(write)
                self.land(write)
            for write in [write for write in self.writes if write.began is not None and write.until < self.now + step]:
                self.settle(write, ok=True, quiet=True)
            self.now += step
            if asleep != "prefill":
                self.prefill.tick(self.now)
            if asleep != "decode":
                self.decode.tick(self.now)
            self.run_actions()

    @rule(side=st.integers(0, 1), token=st.integers(0, EOS), slow=st.sampled_from([False, False, False, True]))
    def step(self, side: int, token: int, slow: bool = False) -> None:
        core = (self.prefill, self.decode)[side]
        waiting = tuple(core.schedule.waiting)
        step = core.next_step()
        self.run_actions()
        if core is self.prefill:  # I6
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
            for core in (self.prefill, self.decode):
                for sequence in core.schedule.sequences():
                    sequence.check(PAGE)

    def teardown(self) -> None:
        """Once it is quiet, every request has ended once, and every page is free or a prefix (I1, I2, I7)."""
        if not hasattr(self, "prefill"):
            return
        for _ in range(400):
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
        for core in (self.prefill, self.decode):
            assert core.schedule.slots.free == PAGES
            assert not core.staging.fenced
        assert self.decode.staging.free == PAGES
        assert self.prefill.staging.holders <= self.prefill.prefix.owners
        self.nothing_is_wrong_with_the_pages()


TestPair = Pair.TestCase
TestPair.settings = settings(
    max_examples=int(os.environ.get("PAIR_EXAMPLES", "120")), stateful_step_count=50, deadline=None
)
