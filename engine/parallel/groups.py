"""The decisions of a worker with DP attention: a core for each attention group, joined into one.

Each group has requests, slots and staging pages of its own; a step holds the spans of all groups that have work, since
their feed-forward layers are computed together. A request goes to a group when it is submitted, or when the first word
of its room comes, and stays there: what the other half says of a room reaches the core that knows the room. The cores
themselves know nothing of groups. For the step loop, the exchanges and the worker these are cores like any other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Sequence as Tokens
from dataclasses import dataclass, replace
from itertools import islice
from typing import Generic, TypeVar

from ..actions import Action
from ..decode_core import DecodeCore
from ..pages import Runs
from ..prefill_core import PrefillCore
from ..request import Finish, Scores
from ..schedule import Step, StepKind
from ..sequence import Sequence
from ..unified_core import UnifiedCore
from .balance import Balancer

__all__ = ["DecodeGroups", "Groups", "JoinedStep", "PrefillGroups", "UnifiedGroups"]

_C = TypeVar("_C", UnifiedCore, PrefillCore, DecodeCore)


@dataclass(frozen=True, slots=True)
class JoinedStep(Step):
    """The steps of several groups as one; its kind is mixed where theirs differ.

    Attributes:
        parts: (group, its step) of those that have work, in the order of the spans.
    """

    parts: tuple[tuple[int, Step], ...] = ()


class Groups(Generic[_C]):
    """What all roles share; it is a `step_loop.Core`.

    Args:
        cores: one for each group.
        balancer: chooses for requests that no group knows.

    Attributes:
        generated: tokens that each group has drawn since the start.
    """

    def __init__(self, cores: Iterable[_C], balancer: Balancer) -> None:
        self.cores: tuple[_C, ...] = tuple(cores)
        self.generated = [0] * len(self.cores)
        self._balancer = balancer
        self._actions: list[Action] = []

    @property
    def actions(self) -> list[Action]:
        """What the worker is to do next; the worker empties it. The order holds within each group."""
        for core in self.cores:
            if core.actions:
                self._actions += core.actions
                core.actions = []
        return self._actions

    @actions.setter
    def actions(self, actions: list[Action]) -> None:
        self._actions = actions

    @property
    def pauses(self) -> int:
        """For how many steps' time to pause: as the group asks that wants most."""
        return max(core.pauses for core in self.cores)

    def _waiting(self, core: _C) -> int:
        """Returns the tokens of a group's waiting and running requests."""
        return sum(len(sequence.tokens) for sequence in core.schedule.sequences())

    def _known(self, sequence: Sequence) -> int | None:
        """Returns the group that knows the request's room, if there is one."""
        return None

    def _choose(self, room: int) -> int:
        return self._balancer.choose(room, [self._waiting(core) for core in self.cores])

    def submit(self, sequence: Sequence, now: float) -> None:
        """Takes a new request to its group."""
        known = self._known(sequence)
        sequence.group = self._choose(sequence.room) if known is None else known
        self.cores[sequence.group].submit(sequence, now)

    def abort(self, sequence: Sequence, finish: Finish, now: float) -> None:
        """Gives a request up; nothing happens when it is over already."""
        self.cores[sequence.group].abort(sequence, finish, now)

    def next_step(self) -> Step | None:
        """Returns the next steps of the groups as one, or None when no group has any."""
        steps = ((group, core.next_step()) for group, core in enumerate(self.cores))
        parts = tuple((group, step) for group, step in steps if step is not None)
        if not parts:
            return None
        kinds = {step.kind for _, step in parts}
        return JoinedStep(
            kind=kinds.pop() if len(kinds) == 1 else StepKind.MIXED,
            spans=tuple(span for _, step in parts for span in step.spans),
            moves=tuple(replace(move, group=group) for group, step in parts for move in step.moves),
            parts=parts,
        )

    def step_done(self, step: Step, tokens: Tokens[int], now: float) -> None:
        """Takes one token per span with `sample`, of all groups."""
        assert isinstance(step, JoinedStep), "not a step of ours"
        drawn = iter(tokens)
        for group, part in step.parts:
            own = list(islice(drawn, sum(span.sample for span in part.spans)))
            self.generated[group] += len(own)
            self.cores[group].step_done(part, own, now)

    def tick(self, now: float) -> None:
        """Lets time pass."""
        for core in self.cores:
            core.tick(now)

    def integrity(self) -> list[str]:
        """Returns what is wrong with the pools, one sentence each."""
        return [f"Group {group}: {problem}" for group, core in enumerate(self.cores) for problem in core.integrity()]


class UnifiedGroups(Groups[UnifiedCore]):
    """The groups of a unified worker."""

    def restart(self) -> None:
        """All KV is lost: computes every sequence again from its tokens."""
        for core in self.cores:
            core.restart()


class PrefillGroups(Groups[PrefillCore]):
    """The groups of a prefill worker; see `PrefillCore` for what each call means."""

    def _waiting(self, core: PrefillCore) -> int:
        return core.expected_tokens + sum(len(sequence.tokens) for sequence in core.rooms.values())

    def _known(self, sequence: Sequence) -> int | None:
        return self._at(sequence.room)

    def _at(self, room: int) -> int | None:
        return next((group for group, core in enumerate(self.cores) if core.knows(room)), None)

    def _core(self, room: int) -> PrefillCore:
        """Returns the core of a room; one that is not known yet gets its group now."""
        known = self._at(room)
        return self.cores[self._choose(room) if known is None else known]

    @property
    def stale_messages(self) -> int:
        """Messages that came too late, of all groups."""
        return sum(core.stale_messages for core in self.cores)

    def grant(self, peer: str, room: int, runs: Runs, lease_until: float, now: float, *, group: int = 0) -> None:
        """Decode names the pages to write, and whose of its groups they are."""
        self._core(room).grant(peer, room, runs, lease_until, now, group=group)

    def peer_aborted(self, peer: str, room: int, reason: str, now: float) -> None:
        """Decode gave the room up."""
        self._core(room).peer_aborted(peer, room, reason, now)

    def acknowledged(self, peer: str, room: int, known: bool, now: float) -> None:
        """Decode took the commit, or says that it knows no such room."""
        self.cores[self._at(room) or 0].acknowledged(peer, room, known, now)

    def write_done(self, sequence: Sequence, *, ok: bool, quiet: bool, error: str, now: float) -> None:
        """One write of the sequence ended."""
        self.cores[sequence.group].write_done(sequence, ok=ok, quiet=quiet, error=error, now=now)

    def peer_lost(self, peer: str, reason: str, now: float) -> None:
        """The connection to a decode worker ended."""
        for core in self.cores:
            core.peer_lost(peer, reason, now)

    def peer_replaced(self, peer: str, now: float) -> None:
        """Another decode process answers at the address."""
        for core in self.cores:
            core.peer_replaced(peer, now)


class DecodeGroups(Groups[DecodeCore]):
    """The groups of a decode worker; see `DecodeCore` for what each call means."""

    def _waiting(self, core: DecodeCore) -> int:
        requests = (*core.awaiting, *core.granted.values(), *core.schedule.sequences())
        return sum(len(sequence.tokens) for sequence in requests)

    def _known(self, sequence: Sequence) -> int | None:
        return self._at(sequence.peer, sequence.room)

    def _at(self, peer: str, room: int) -> int | None:
        return next((group for group, core in enumerate(self.cores) if core.knows(peer, room)), None)

    def _core(self, peer: str, room: int) -> DecodeCore:
        """Returns the core of a room; of one that nobody knows, any, since all answer alike."""
        return self.cores[self._at(peer, room) or 0]

    @property
    def stale_messages(self) -> int:
        """Messages that came too late, of all groups."""
        return sum(core.stale_messages for core in self.cores)

    @property
    def granted(self) -> Mapping[int, Sequence]:
        """By room, what waits for its commit."""
        return {room: sequence for core in self.cores for room, sequence in core.granted.items()}

    @property
    def fenced_peers(self) -> frozenset[str]:
        """The peers that some pages wait for."""
        return frozenset().union(*(core.fenced_peers for core in self.cores))

    def arrived(self, peer: str, room: int, pages: int) -> None:
        """Prefill says that the first `pages` pages of the room are written."""
        self._core(peer, room).arrived(peer, room, pages)

    def committed(
        self,
        peer: str,
        room: int,
        first_token: int,
        now: float,
        scores: Scores | None = None,
        *,
        cached_tokens: int = 0,
    ) -> bool:
        """Prefill says that everything is written; returns False for a room that does not wait for that."""
        core = self._core(peer, room)
        return core.committed(peer, room, first_token, now, scores, cached_tokens=cached_tokens)

    def drained(self, peer: str, room: int, now: float) -> None:
        """Prefill promises not to write into this room's pages any more."""
        self._core(peer, room).drained(peer, room, now)

    def peer_aborted(self, peer: str, room: int, reason: str, now: float) -> None:
        """Prefill gave the room up."""
        self._core(peer, room).peer_aborted(peer, room, reason, now)

    def peer_lost(self, peer: str, reason: str, now: float, unsent: Collection[int] = ()) -> None:
        """The connection to a prefill worker ended."""
        for core in self.cores:
            core.peer_lost(peer, reason, now, unsent)

    def peer_joined(self, peer: str, now: float) -> None:
        """The process that was lost is connected again."""
        for core in self.cores:
            core.peer_joined(peer, now)

    def peer_replaced(self, peer: str, now: float) -> None:
        """Another process answers at the peer's address."""
        for core in self.cores:
            core.peer_replaced(peer, now)

    def peer_dead(self, peer: str, now: float) -> None:
        """The peer's process is gone for sure."""
        for core in self.cores:
            core.peer_dead(peer, now)
