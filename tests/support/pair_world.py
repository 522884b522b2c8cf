"""A prefill and a decode core with a simulated network, transport and memory between them; see pair_machine.

Either may be several cores joined; a place is a page of a group's memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pair_heed
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
from pdpanel.engine.cores import DecodeSide, PrefillSide
from pdpanel.engine.decode_core import DecodeCore
from pdpanel.engine.outgoing import Outgoing
from pdpanel.engine.pages import Owner, PagePool, Runs
from pdpanel.engine.peer.messages import Arrived, Commit
from pdpanel.engine.prefill_core import PrefillCore
from pdpanel.engine.schedule import Schedule
from pdpanel.engine.sequence import Sequence

PAGE, PAGES, CHUNK, EOS = 4, 24, 16, 7
LEASE, HARD = 50.0, 30.0
# A write ends within this; the rest of the hard timeout is for sleeps that are too short to be seen.
BOUND = HARD - 6.0
# What stood in the buffers of a process that was stopped has landed then.
MOMENTS = 0.6

Call = Callable[[], object]
Content = tuple[int, tuple[int, ...]]  # room, tokens up to the page's end


def places_of(group: int, runs: Runs) -> list[int]:
    return [group * PAGES + page for run in runs for page in range(run.start, run.stop)]


def content(sequence: Sequence, index: int) -> tuple[int, ...]:
    """What stands in the page with this index of a prompt: its KV depends on all tokens before, too."""
    return tuple(sequence.tokens[: min((index + 1) * PAGE, sequence.prefill_tokens)])


@dataclass(eq=False)
class Write:
    """One write on its way.

    Attributes:
        memory: decode's memory at the time; a restarted process has another one.
        place: of its first page among those that were asked for.
        began: None while it waits behind others.
        until: it may land until then.
        slept: of that, how long decode stood still; what is sent was read before.
    """

    sequence: Sequence
    staging: list[int]
    target: list[int]
    source: dict[int, tuple[int, ...]]
    memory: dict[int, Content]
    core: PrefillSide
    sent: Outgoing
    place: int
    began: float | None = None
    until: float = 0.0
    slept: float = 0.0


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


class World:
    """Both workers and what is under way between them.

    Args:
        radix: whether prefill keeps prefixes.
    """

    def begin_world(self, radix: bool) -> None:
        self.now = 0.0
        self.radix = radix
        self.connected = False
        self.next_key = 1
        self.to_prefill: deque[tuple[Action, Call]] = deque()
        self.to_decode: deque[tuple[Action | Arrived | Commit, Call]] = deque()
        self.epochs, self.known_epochs = [0, 0], [0, 0]
        self.target_groups: dict[int, int] = {}  # room -> group of decode that granted its pages
        self.posted: deque[Call] = deque()  # what prefill's loop will read, as soon as it reads anything
        self.writes: list[Write] = []
        self.zombies: list[Write] = []
        self.halves = Half(), Half()
        self.start_prefill()
        self.start_decode()

    def schedule(self, reserve: int) -> Schedule:
        return Schedule(PagePool(PAGES), page_size=PAGE, chunk_tokens=CHUNK, max_running=4, reserve_tokens=reserve)

    def start_prefill(self) -> None:
        self.source: dict[int, tuple[int, ...]] = {}
        self.sent: dict[int, Outgoing] = {}
        self.posted.clear()
        self.prefill = self.make_prefill()
        self.prefill.tick(self.now)  # as the step loop does before anything else

    def start_decode(self) -> None:
        self.memory: dict[int, Content] = {}
        self.granted: dict[int, list[int]] = {}
        self.decode = self.make_decode()
        self.decode.tick(self.now)

    def make_prefill(self) -> PrefillSide:
        return self.prefill_core()

    def make_decode(self) -> DecodeSide:
        return self.decode_core()

    def prefill_core(self) -> PrefillCore:
        return PrefillCore(
            self.schedule(0), PagePool(PAGES), bootstrap_timeout_s=60, hard_timeout_s=HARD, radix_cache=self.radix
        )

    def decode_core(self) -> DecodeCore:
        return DecodeCore(self.schedule(6), PagePool(PAGES), staging_share=0.5, waiting_timeout_s=LEASE, fence_s=HARD)

    @property
    def prefill_cores(self) -> tuple[PrefillCore, ...]:
        return (self.prefill,) if isinstance(self.prefill, PrefillCore) else self.prefill.cores

    @property
    def decode_cores(self) -> tuple[DecodeCore, ...]:
        return (self.decode,) if isinstance(self.decode, DecodeCore) else self.decode.cores

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
                    for index, page in enumerate(places_of(sequence.group, staging)):
                        assert self.source[page] == content(sequence, index), "the prefix cache has other tokens"
                case SendCommit(sequence=sequence, first_token=token, again=False):
                    self.outgoing(sequence).commit(Commit(sequence.room, token, 0, 0, 0), sequence.target)
                case SendCommit(sequence=sequence):
                    message = self.sent[sequence.room].again()
                    assert message is not None, "it is sent again only once it was sent"
                    self.hear(self.sent[sequence.room], message)
                case SendDrained(room=room):
                    self.give_up(room)
                    self.tell_decode(action, lambda r=room: self.hear_drained(r))
                case SendAbort(room=room, reason=reason):
                    self.give_up(room)
                    self.tell_decode(action, lambda r=room, w=reason: self.hear_abort(self.decode, r, w))
                case _:
                    raise AssertionError(action)
        actions, self.decode.actions = self.decode.actions, []
        for action in actions:
            match action:
                case Emit():
                    self.halves[1].hear(action)
                case ImportPages(sequence=sequence, slot_page=slot_page, staging=staging):  # I5
                    places = places_of(sequence.group, staging)
                    first = self.granted[sequence.room].index(places[0])
                    assert sequence.slot is None or slot_page == sequence.slot.start + first, "not into its place"
                    for index, page in enumerate(places, first):
                        assert self.memory[page] == (sequence.room, content(sequence, index)), "a page was not written"
                case SendGrant(sequence=sequence):
                    awaiting = self.decode_cores[sequence.group].awaiting
                    assert not any(s.key < sequence.key for s in awaiting), "I6: not in order"
                    self.granted[sequence.room] = places_of(sequence.group, sequence.staging)
                    self.target_groups[sequence.room] = sequence.group
                    grant = (sequence.room, sequence.staging, sequence.deadline)
                    self.tell_prefill(action, lambda g=grant: self.hear_grant(*g))
                case SendAck(room=room, known=known):
                    self.tell_prefill(action, lambda r=room, k=known: self.hear_ack(r, k))
                case SendAbort(room=room, reason=reason):
                    self.tell_prefill(action, lambda r=room, w=reason: self.hear_abort(self.prefill, r, w))
                case FenceLifted(room=room):
                    assert not any(room in core.fences for core in self.decode_cores)
                case _:
                    raise AssertionError(action)

    def outgoing(self, sequence: Sequence) -> Outgoing:
        return self.sent.setdefault(sequence.room, Outgoing(sequence.room, "D", self.hear))

    def give_up(self, room: int) -> None:
        if (sent := self.sent.pop(room, None)) is not None:
            sent.end()

    def hear(self, sent: Outgoing, message: Arrived | Commit) -> None:
        """What the transport's threads tell decode."""
        if self.sent.get(sent.room) is not sent:
            return  # a process that was killed
        room = sent.room
        match message:
            case Arrived(pages=pages):
                self.tell_decode(message, lambda: self.hear_arrived(room, pages))
            case Commit(first_token=token, pages=pages):
                assert not [write for write in self.writes if write.sent is sent], "a commit before its pages"
                self.tell_decode(message, lambda: self.hear_commit(room, token))

    def hear_drained(self, room: int) -> None:
        self.decode.drained("P", room, self.now)
        pair_heed.drained(self.decode_cores, room, self.now)

    def hear_abort(self, side: PrefillSide | DecodeSide, room: int, reason: str) -> None:
        side.peer_aborted("D" if side is self.prefill else "P", room, reason, self.now)
        if side is self.prefill:
            pair_heed.aborted_at_prefill(self.prefill_cores, room)
        else:
            pair_heed.aborted_at_decode(self.decode_cores, room)

    def hear_grant(self, room: int, staging: Runs, deadline: float) -> None:
        self.prefill.grant("D", room, staging, deadline, self.now)
        pair_heed.granted(self.prefill_cores, room)

    def hear_ack(self, room: int, known: bool) -> None:
        self.prefill.acknowledged("D", room, known, self.now)
        pair_heed.acknowledged(self.prefill_cores, room)

    def hear_arrived(self, room: int, pages: int) -> None:
        self.decode.arrived("P", room, pages)
        pair_heed.arrived(self.decode_cores, room, pages * PAGE)

    def hear_commit(self, room: int, token: int) -> None:
        self.decode.committed("P", room, token, self.now)
        pair_heed.committed(self.decode_cores, room)

    def hear_written(self, write: Write, ok: bool, quiet: bool) -> None:
        pending = write.sequence.writes_pending
        write.core.write_done(write.sequence, ok=ok, quiet=quiet, error="it broke", now=self.now)
        assert write.sequence.writes_pending == pending - 1, "the end of a write was not heard"

    def lose_decode(self) -> None:
        """Prefill's connection to decode ends."""
        self.prefill.peer_lost("D", "decode went away", self.now)
        pair_heed.lost_at_prefill(self.prefill_cores, self.now)

    def lose_prefill(self, unsent: list[int]) -> None:
        """Decode's connection to prefill ends, or cannot be made."""
        self.decode.peer_lost("P", "prefill went away", self.now, unsent)
        pair_heed.lost_at_decode(self.decode_cores, unsent)

    def read_mailbox(self) -> None:
        """Prefill's loop takes what the transport's threads told it."""
        while self.posted:
            self.posted.popleft()()
            self.run_actions()

    def tell_prefill(self, action: Action, call: Call) -> None:
        self.to_prefill.append((action, call))  # without a connection it waits for one

    def tell_decode(self, action: Action | Arrived | Commit, call: Call) -> None:
        if self.connected:  # decode alone connects
            self.to_decode.append((action, call))

    def indexed(self, sequence: Sequence, staging: Runs, target: Runs) -> list[tuple[int, int]]:
        granted = self.granted_to(sequence)
        places = places_of(sequence.group, staging), self.targets(sequence, target)
        return [(page, granted.index(to)) for page, to in zip(*places, strict=True)]

    def targets(self, sequence: Sequence, runs: Runs) -> list[int]:
        return places_of(self.target_groups[sequence.room], runs)

    def granted_to(self, sequence: Sequence) -> list[int]:
        return self.targets(sequence, sequence.target)

    def write(self, sequence: Sequence, staging: Runs, target: Runs) -> None:
        assert self.now < sequence.lease_until
        sent, pages = self.outgoing(sequence), places_of(sequence.group, staging)
        place = sent.begin(len(pages))
        memory = self.source, self.memory
        self.writes.append(Write(sequence, pages, self.targets(sequence, target), *memory, self.prefill, sent, place))

    def connect(self) -> None:
        if self.connected:
            return
        self.connected = True
        if self.known_epochs[0] == self.epochs[0]:
            self.decode.peer_joined("P", self.now)
            pair_heed.joined(self.decode_cores, self.decode.actions)
        else:
            self.decode.peer_replaced("P", self.now)
            pair_heed.replaced_at_decode(self.decode_cores, self.now)
        if self.known_epochs[1] != self.epochs[1]:
            self.prefill.peer_replaced("D", self.now)
            pair_heed.replaced_at_prefill(self.prefill_cores)
        self.known_epochs = [*self.epochs]
        self.run_actions()

    def begin(self, write: Write) -> None:
        if write.began is None and self.now >= write.sequence.lease_until:
            self.settle(write, ok=False, quiet=True)
        elif write.began is None:
            write.began, write.until = self.now, self.now + BOUND

    def read(self, write: Write) -> None:
        """All that a write sends has left its source pages, which may be given away from now on."""
        granted = self.granted_to(write.sequence)
        for page, target in zip(write.staging, write.target, strict=True):
            tokens = content(write.sequence, granted.index(target))
            assert write.source[page] == tokens, "a source page was given away while it was read"
        write.source = {page: write.source[page] for page in write.staging}

    def land(self, write: Write, count: int | None = None) -> None:
        sequence = write.sequence
        granted = self.granted_to(sequence)
        for page, target in [*zip(write.staging, write.target, strict=True)][:count]:
            tokens = content(sequence, granted.index(target))
            assert write.source[page] == tokens, "a source page was given away while it was read"
            if write.memory is self.memory:  # I4
                group, own = divmod(target, PAGES)
                owners = self.decode_cores[group].staging.owners(own)
                assert owners == {Owner.writer(sequence.room)}, f"a write hit a page that is not its: {owners}"
                self.memory[target] = (sequence.room, tokens)

    def settle(self, write: Write, *, ok: bool, quiet: bool) -> None:
        """A write ends: decode hears of it, or gets the commit, before prefill's loop has time for it."""
        self.writes.remove(write)
        if ok:
            self.land(write)
        elif not quiet:
            self.zombies.append(write)
        self.posted.append(lambda: self.hear_written(write, ok, quiet))
        if ok:
            pages = len(write.staging)
            write.sent.done(write.place, pages=pages, writes=1, size=pages, seconds=0.0)
        else:
            write.sent.failed()
