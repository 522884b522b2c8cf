"""The mutable side of a request on a worker: its tokens, how far their KV is, and what it owns.

Length algebra, asserted by `Sequence.check`: 0 <= sent <= computed <= len(tokens) <= capacity of the slot once it
has one (sent in tokens, rounded down to whole pages until the last write). Used by the cores and the scheduler; the
step loop reads it, nobody else writes it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .lifecycle import Event, LifeCycle, State
from .pages import Run, Runs
from .request import Finish, FinishKind, GenerateRequest, Scores, TokenLogprobs

__all__ = ["Sequence"]


@dataclass(slots=True, eq=False)
class Sequence:
    """One request at work.

    Attributes:
        key: unique in this worker's life; rids may repeat, keys do not.
        seed: what sampling is keyed by, together with the position.
        limit: tokens (prompt and output) at which generation ends with finish reason "length".
        tokens: prompt, replayed output and output so far.
        slot: the run of pages in the slot pool that holds its KV.
        staging: its pages in the staging pool while the KV travels.
        cached: tokens, the first ones, whose KV prefill had from earlier prompts.
        computed: tokens whose KV is valid in the slot.
        sent: tokens whose KV was handed to the link.
        deadline: when the state it is in ends with an error, on the core's clock.
        expires_at: when the request's own time is over, whatever its state; infinite without a limit or once it ended.
        resend_at: prefill: when an unacknowledged commit is sent again.
        peer: the other half's worker.
        target: the pages that decode granted, of its attention group `target_group`.
        lease_until: no write into them may start after it.
        prompt_done_at: prefill: when the prompt was computed, on the core's clock.
        writes_pending: writes of ours that have not ended.
        quiet_at: when a failed write provably touches memory no more; 0 when none failed that way.
        finish: why it ended; None while it goes on, or when its client went away.
        stale: events that came too late to matter.
        prompt_scores: log probabilities of the prompt's tokens so far, until they go out with the first output token.
        scores: the log probabilities of the last token, when they are asked for.
        group: the attention group that computes it, with KV memory of its own.
    """

    key: int
    request: GenerateRequest
    cycle: LifeCycle[State, Event]
    seed: int
    limit: int
    stop_ids: frozenset[int]
    tokens: list[int]
    state: State
    slot: Run | None = None
    staging: Runs = ()
    cached: int = 0
    computed: int = 0
    sent: int = 0
    deadline: float = 0.0
    expires_at: float = math.inf
    resend_at: float = 0.0
    peer: str = ""
    target: Runs = ()
    lease_until: float = 0.0
    prompt_done_at: float = 0.0
    writes_pending: int = 0
    quiet_at: float = 0.0
    finish: Finish | None = None
    stale: int = 0
    prompt_scores: list[TokenLogprobs] = field(default_factory=list)
    scores: Scores | None = None
    group: int = 0
    target_group: int = 0

    @property
    def prompt_tokens(self) -> int:
        """Length of the prompt in tokens."""
        return len(self.request.prompt_ids)

    @property
    def prefill_tokens(self) -> int:
        """Tokens that prefill computes: the prompt, and output that an earlier try had sent (`replayed_ids`)."""
        return len(self.request.prompt_ids) + len(self.request.replayed_ids)

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens whose KV prefill had from earlier prompts."""
        return min(self.cached, self.prompt_tokens)

    @property
    def reusable_tokens(self) -> int:
        """Tokens, from the first on, that need not be computed where their KV is known.

        The last one is, since it brings the next; so are those whose scores are asked for.
        """
        wanted = self.request.logprobs
        scored = wanted is not None and wanted.start < self.prompt_tokens - 1
        return min(wanted.start, self.prefill_tokens - 1) if wanted and scored else self.prefill_tokens - 1

    @property
    def output_tokens(self) -> int:
        """Tokens generated so far, those of earlier tries included."""
        return len(self.tokens) - self.prompt_tokens

    @property
    def room(self) -> int:
        """The room it shares with the other half; 0 on a unified worker."""
        return self.request.bootstrap.room if self.request.bootstrap else 0

    @property
    def needs_peer(self) -> bool:
        """True in a state that ends when the connection to the other half's worker does."""
        return self.cycle.moves.get((self.state, Event.PEER_LOST), self.state) is not self.state

    def advance(self, event: Event) -> bool:
        """Moves the state; returns False, and counts it, when the event is stale."""
        target = self.cycle.next(self.state, event)
        if target is None:
            self.stale += 1
            return False
        self.state = target
        return True

    def append(self, token: int) -> Finish | None:
        """Adds a generated token and returns the finish that it brings, if any."""
        self.tokens.append(token)
        self.finish = self._finish()
        return self.finish

    def replay_finish(self) -> Finish | None:
        """Returns the finish that the replayed output has brought already: nothing is left to compute then."""
        return self._finish() if self.request.replayed_ids else None

    def _finish(self) -> Finish | None:
        token = self.tokens[-1]
        if token in self.stop_ids and self.output_tokens > self.request.sampling.min_new_tokens:
            return Finish(FinishKind.STOP, matched=token)
        if len(self.tokens) >= self.limit:
            return Finish(FinishKind.LENGTH, matched=self.output_tokens)
        return None

    def room_is_active(self) -> Finish:
        """Returns the finish of a request whose room is taken."""
        message = f"bootstrap_room is {self.room!r}: this room is active already; use a fresh room."
        return Finish(FinishKind.ABORT, message=message, http_status=409)

    def time_is_over(self) -> Finish:
        """Returns the finish of a request whose own time is over."""
        message = f"The request took longer than {self.request.deadline_s or 0.0:g} s."
        return Finish(FinishKind.ABORT, message=message, http_status=504)

    def rank_was_lost(self) -> Finish:
        """Returns the finish of a request whose KV went with a rank of its worker, and that may be tried again."""
        message = "The worker goes on without one of its ranks, and the KV of this request is lost."
        return Finish(FinishKind.ABORT, message=message, http_status=503)

    def check(self, page_size: int) -> None:
        """Asserts the length algebra."""
        assert 0 <= self.sent <= self.computed <= len(self.tokens) <= self.limit, self
        assert self.slot is None or self.computed <= self.slot.count * page_size, self
