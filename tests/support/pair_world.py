"""A prefill and a decode core with a simulated network, transport and memory between them; see test_pair_machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

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
        place: of its first page among those that were asked for.
        began: None while it waits behind others.
        until: it may land until then.
    """

    sequence: Sequence
    staging: list[int]
    target: list[int]
    source: dict[int, tuple[int, ...]]
    memory: dict[int, Content]
    core: PrefillCore
    sent: Outgoing
    place: int
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
        self.prefill = PrefillCore(
            self.schedule(0), PagePool(PAGES), bootstrap_timeout_s=60, hard_timeout_s=HARD, radix_cache=self.radix
        )

    def start_decode(self) -> None:
        self.memory: dict[int, Content] = {}
        self.granted: dict[int, list[int]] = {}
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
                case SendCommit(sequence=sequence, first_token=token, again=False):
                    self.outgoing(sequence).commit(Commit(sequence.room, token, 0, 0, 0), sequence.target)
                case SendCommit(sequence=sequence):
                    message = self.sent[sequence.room].again()
                    assert message is not None, "it is sent again only once it was sent"
                    self.hear(self.sent[sequence.room], message)
                case SendDrained(room=room):
                    self.give_up(room)
                    self.tell_decode(action, lambda r=room: self.decode.drained("P", r, self.now))
                case SendAbort(room=room, reason=reason):
                    self.give_up(room)
                    self.tell_decode(action, lambda r=room, w=reason: self.decode.peer_aborted("P", r, w, self.now))
                case _:
                    raise AssertionError(action)
        actions, self.decode.actions = self.decode.actions, []
        for action in actions:
            match action:
                case Emit():
                    self.halves[1].hear(action)
                case ImportPages(sequence=sequence, slot_page=slot_page, staging=staging):  # I5
                    first = self.granted[sequence.room].index(staging[0].start)
                    assert sequence.slot is None or slot_page == sequence.slot.start + first, "not into its place"
                    for index, page in enumerate(pages_of(staging), first):
                        assert self.memory[page] == (sequence.room, content(sequence, index)), "a page was not written"
                case SendGrant(sequence=sequence):
                    assert not any(s.key < sequence.key for s in self.decode.awaiting), "I6: not in order"
                    self.granted[sequence.room] = pages_of(sequence.staging)
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
                self.tell_decode(message, lambda: self.decode.arrived("P", room, pages))
            case Commit(first_token=token, pages=pages):
                assert not [write for write in self.writes if write.sent is sent], "a commit before its pages"
                self.tell_decode(message, lambda: self.decode.committed("P", room, token, self.now))

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
        granted = pages_of(sequence.target)
        return [(page, granted.index(to)) for page, to in zip(pages_of(staging), pages_of(target), strict=True)]

    def write(self, sequence: Sequence, staging: Runs, target: Runs) -> None:
        assert self.now < sequence.lease_until
        sent, pages = self.outgoing(sequence), pages_of(staging)
        place = sent.begin(len(pages))
        memory = self.source, self.memory
        self.writes.append(Write(sequence, pages, pages_of(target), *memory, self.prefill, sent, place))

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
        """A write ends: decode hears of it, or gets the commit, before prefill's loop has time for it."""
        self.writes.remove(write)
        if ok:
            self.land(write)
        elif not quiet:
            self.zombies.append(write)
        core = write.core
        self.posted.append(lambda: core.write_done(write.sequence, ok=ok, quiet=quiet, error="it broke", now=self.now))
        if ok:
            pages = len(write.staging)
            write.sent.done(write.place, pages=pages, writes=1, size=pages, seconds=0.0)
        else:
            write.sent.failed()
