"""The thread that computes: stimuli in, forward passes, actions out.

The only place where a core (decisions) meets the model and the KV memory. Other threads `post` calls to the core;
what comes out goes to an `Outlet`. An exception here ends the worker with a reason: a half-done step cannot be
trusted.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence as Many
from functools import partial
from itertools import accumulate
from typing import Protocol, runtime_checkable

import torch

from .actions import Action, Emit, ExportPages, ImportPages, WritePages
from .errors import RankError
from .kv import KVCache
from .kv_memory import KVMemory
from .log import record
from .logprobs import prompt_rows, score, score_blocks, scored_temperature
from .model.executor import DecodeRow, Decoding, Executor, TokenSpan
from .page_checks import PageChecks
from .priority import be_nice
from .profiling_spans import COMPUTE, COPY, WAIT, Spans
from .request import Finish, FinishKind, Scores
from .sampler import SamplingError, mask_stop_tokens, sample
from .schedule import Span, Step, StepKind
from .sequence import Sequence
from .statistics import EngineStatistics

__all__ = ["Core", "Outlet", "StepLoop"]

_log = logging.getLogger(__name__)
_NOTHING = contextlib.nullcontext()
_TICK_S = 0.1
_CHECK_S = 1.0


class Core(Protocol):
    """What the loop needs of a worker's decisions; see unified_core, prefill_core, decode_core and parallel.groups."""

    @property
    def actions(self) -> list[Action]:
        """What is to be done next; whoever does it empties it."""
        ...

    @actions.setter
    def actions(self, actions: list[Action]) -> None: ...

    @property
    def pauses(self) -> int:
        """For how many steps' time nothing is decoded after a decode step, so that others can use the cores."""
        ...

    def submit(self, sequence: Sequence, now: float) -> None:
        """Takes a new request."""
        ...

    def abort(self, sequence: Sequence, finish: Finish, now: float) -> None:
        """Gives a request up; nothing happens when it is over already."""
        ...

    def next_step(self) -> Step | None:
        """Returns the next forward pass, or None when there is nothing to compute.

        The core's actions are to be done before it.
        """
        ...

    def step_done(self, step: Step, tokens: Many[int], now: float) -> None:
        """Takes one token per span with `sample`."""
        ...

    def tick(self, now: float) -> None:
        """Lets time pass."""
        ...

    def integrity(self) -> Many[str]:
        """Returns what is wrong with the page pools, one sentence each."""
        ...


@runtime_checkable
class Restarting(Protocol):
    """A core that goes on when all KV is lost."""

    def restart(self) -> None:
        """Has every sequence computed again from its tokens."""
        ...


@runtime_checkable
class Recovering(Protocol):
    """An executor that can go on with fewer ranks."""

    def recover(self) -> bool:
        """Goes on with the ranks that are left, and empty KV memory; returns False when it cannot, or need not."""
        ...


class Outlet(Protocol):
    """Where the loop's results go; called on the loop's thread, must not block."""

    def emit(self, emits: Many[Emit]) -> None:
        """Tokens and finishes for listeners."""
        ...

    def export(self, action: ExportPages | WritePages) -> None:
        """The pages stand in staging: write them to the peer."""
        ...

    def send(self, action: Action) -> None:
        """A message for the peer."""
        ...

    def fatal(self, reason: str) -> None:
        """The loop is dead."""
        ...


class StepLoop:
    """Runs a core's steps.

    Args:
        kv: the memory that the model is called with.
        groups: the memory of each attention group, which slots and pages of its sequences are places of; none for a
            worker with one group, whose memory is `kv`.

    Attributes:
        generated: tokens sampled since the start.
        integrity_errors: problems found in the page pools since the start.
        noted: what a profile has of steps, copies and waiting.
        observed: what `observe` returned after the last stimulus, prompt chunk or end of a request, and while steps
            run at least with every tick; other threads read this, not the core.
    """

    def __init__(
        self,
        core: Core,
        model: Executor,
        kv: KVCache,
        outlet: Outlet,
        observe: Callable[[], EngineStatistics],
        checks: PageChecks | None = None,
        niceness: int = 0,
        groups: Many[KVMemory] = (),
    ) -> None:
        self._checks = checks
        self._niceness = niceness
        self.core = core
        self.observed = observe()
        self.generated = 0
        self.noted = Spans()
        self.integrity_errors = 0
        self._unchecked = False
        self._model = model
        self._decoder = model.decoder if isinstance(model, Decoding) else None
        self._kv = kv
        self._memory: tuple[KVMemory, ...] = tuple(groups) or (kv,)
        self._outlet = outlet
        self._observe = observe
        self._mailbox: queue.SimpleQueue[Callable[[float], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="step-loop", daemon=True)

    @property
    def alive(self) -> bool:
        """True while the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self, timeout_s: float | None = None) -> None:
        """Ends the thread after the step that runs.

        Args:
            timeout_s: how long to wait for that step, which may wait for a rank that is gone; None for its end.
        """
        self._mailbox.put(None)
        self._thread.join(timeout_s)

    def post(self, stimulus: Callable[[float], None]) -> None:
        """Has `stimulus(now)` called on the loop's thread between two steps; `now` is time.monotonic()."""
        self._mailbox.put(stimulus)

    def ranks_changed(self) -> None:
        """Has the loop go on with the ranks that are left, where none of them computes just now."""

        def look(now: float) -> None:
            self._recover()

        self.post(look)

    def _recover(self) -> bool:
        """Goes on without ranks that are gone; returns False when none is, or the model cannot."""
        model, core = self._model, self.core
        if not (isinstance(model, Recovering) and isinstance(core, Restarting) and model.recover()):
            return False
        core.restart()
        return True

    def _run(self) -> None:
        be_nice(self._niceness)
        try:
            with torch.inference_mode():
                while True:
                    try:
                        return self._loop()
                    except RankError:
                        if not self._recover():
                            raise
        except RankError as error:  # no bug of ours: another process is gone
            self._outlet.fatal(str(error))
        except Exception as error:
            _log.exception("the step loop failed")
            self._outlet.fatal(f"{type(error).__name__}: {error}")

    def _loop(self) -> None:
        idle, news, next_tick, next_check, resume = True, False, 0.0, 0.0, 0.0
        while True:
            try:
                while True:
                    wait = _TICK_S if idle else max(0.0, resume - time.monotonic())
                    with self.noted.over(WAIT, "wait for work") if wait > 0 else _NOTHING:
                        stimulus = self._mailbox.get(block=wait > 0, timeout=wait)
                    if stimulus is None:
                        self._check()
                        return
                    stimulus(time.monotonic())
                    self._execute()
                    idle, news, self._unchecked = False, True, True
            except queue.Empty:
                pass
            now = time.monotonic()
            if now >= next_tick:
                self.core.tick(now)
                self._execute()
                next_tick, news = now + _TICK_S, True
            if news:
                self.observed = self._observe()
            step = self.core.next_step()
            if self.core.actions:
                self._execute()
            idle = step is None
            if idle and (self._unchecked or self._checks is not None) and now >= next_check:
                self._check()
                next_check = now + _CHECK_S
            if step is not None:
                began = time.monotonic()
                with self.noted.over(COMPUTE, f"{step.kind.value} step"):
                    tokens = self._compute(step)
                now = time.monotonic()
                self.core.step_done(step, tokens, now)
                self._execute()
                resume = now + self.core.pauses * (now - began) if step.kind is StepKind.DECODE else 0.0
            news = step is not None and step.kind is not StepKind.DECODE

    def _check(self) -> None:
        """Looks for lost pages now that nothing computes; for an idle loop that did nothing since, once is enough."""
        self._unchecked = False
        if self._checks is not None:  # a late write needs nobody here to do anything
            self._checks.when_idle()
        for problem in self.core.integrity():
            self.integrity_errors += 1
            record("integrity_error", level=logging.ERROR, problem=problem)

    def _compute(self, step: Step) -> list[int]:
        for move in step.moves:
            self._memory[move.group].move(move.source, move.target, move.tokens)
        if (decoded := self._decode(step)) is not None:
            self.generated += len(decoded)
            return decoded
        spans: list[TokenSpan] = []
        for span in step.spans:
            self._add_token_spans(span, spans)
        scored = [(span, rows) for span in step.spans if (rows := prompt_rows(span))]
        states: list[torch.Tensor] = []
        logits = self._model.forward(spans, self._kv, *([states.append] if scored else []))
        if scored:
            self._score_prompts(step, scored, states[0])
        drawing = [span.sequence for span in step.spans if span.sample]
        tokens = self._draw(logits, drawing) if drawing else []
        self._score_outputs(logits, drawing, tokens)
        self.generated += len(tokens)
        return tokens

    def _decode(self, step: Step) -> list[int] | None:
        """Returns the tokens of a step that the executor decodes by itself, None for any other step."""
        if self._decoder is None or step.kind is not StepKind.DECODE:
            return None
        rows = [row for span in step.spans if (row := self._decode_row(span)) is not None]
        return self._decoder.decode(rows, self._kv) if len(rows) == len(step.spans) else None

    def _decode_row(self, span: Span) -> DecodeRow | None:
        """Returns what a span of one token decodes; None when its logits are needed here."""
        sequence, params = span.sequence, span.sequence.request.sampling
        early = sequence.output_tokens < params.min_new_tokens
        if span.stop - span.start > 1 or sequence.request.logprobs is not None or early or sequence.slot is None:
            return None
        goes_on = span.stop < sequence.slot.count * self._kv.page_size and span.stop + 1 < sequence.limit
        place, token = self._kv.first_token(sequence.slot), sequence.tokens[span.start]
        return DecodeRow(sequence.key, token, span.start, place, goes_on, params, sequence.seed)

    def _add_token_spans(self, span: Span, spans: list[TokenSpan]) -> None:
        sequence, start, stop = span.sequence, span.start, span.stop
        assert sequence.slot is not None
        group, place = sequence.group, self._memory[sequence.group].first_token(sequence.slot)
        if not span.apart:
            prompt = start < sequence.prompt_tokens
            spans.append(TokenSpan(sequence.tokens[start:stop], start, place, span.sample, group, prompt))
            return
        for position in range(start, stop):
            last = span.sample and position + 1 == stop
            spans.append(TokenSpan(sequence.tokens[position : position + 1], position, place, last, group))

    def _score_prompts(self, step: Step, scored: list[tuple[Span, range]], states: torch.Tensor) -> None:
        firsts = dict(zip(step.spans, accumulate((s.stop - s.start for s in step.spans), initial=0), strict=False))
        for span, rows in scored:
            sequence = span.sequence
            wanted = sequence.request.logprobs
            assert wanted is not None
            first = firsts[span] + rows.start - span.start
            following = sequence.tokens[rows.start + 1 : rows.stop + 1]
            block = states[first : first + len(rows)]
            sequence.prompt_scores += score_blocks(block, following, wanted, self._model.logits)

    def _score_outputs(self, logits: torch.Tensor, sequences: list[Sequence], tokens: list[int]) -> None:
        for row, (sequence, token) in enumerate(zip(sequences, tokens, strict=True)):
            if (wanted := sequence.request.logprobs) is not None:
                temperature = scored_temperature(sequence.request.sampling)
                own = score(logits[row : row + 1], [token], wanted, temperature)
                sequence.scores = Scores(own, tuple(sequence.prompt_scores))
                sequence.prompt_scores.clear()

    def _draw(self, logits: torch.Tensor, sequences: list[Sequence]) -> list[int]:
        params = [sequence.request.sampling for sequence in sequences]
        early = [row for row, one in enumerate(params) if sequences[row].output_tokens < one.min_new_tokens]
        if early:
            mask_stop_tokens(logits, early, [sorted(sequences[row].stop_ids) for row in early])
        seeds = [sequence.seed for sequence in sequences]
        positions = [len(sequence.tokens) for sequence in sequences]
        try:
            return sample(logits, params, seeds, positions, [sequence.request.rid for sequence in sequences])
        except SamplingError as error:
            finish = Finish(FinishKind.ABORT, message=str(error), http_status=500)
            for row in error.rows:  # these end; their neighbours' tokens are sound
                self.post(partial(self.core.abort, sequences[row], finish))
                logits[row] = 0
            return sample(logits, params, seeds, positions)

    def _import(self, action: ImportPages) -> None:
        memory, peer, place = (
            self._memory[action.sequence.group],
            action.sequence.peer,
            (action.staging, action.slot_page),
        )
        if action.granted:
            memory.import_pages(*place, peer=peer, granted=action.granted, first=action.first)
        else:
            memory.import_pages(*place)

    def _execute(self) -> None:
        actions, self.core.actions = self.core.actions, []
        if self._checks is not None:
            self._checks.before_actions()
        # First what clients wait for; a listener that has its last token finds the pages free already.
        emits = [action for action in actions if isinstance(action, Emit)]
        if emits:
            if any(emit.finish is not None or emit.end for emit in emits):
                self.observed = self._observe()
            self._outlet.emit(emits)
        if len(emits) == len(actions) and self._checks is None:
            return
        for action in actions:
            if isinstance(action, ExportPages):
                with self.noted.over(COPY, "copy KV to staging"):
                    self._memory[action.sequence.group].export_pages(action.slot_page, action.staging)
                self._outlet.export(action)
            elif isinstance(action, WritePages):
                self._outlet.export(action)
            elif isinstance(action, ImportPages):
                with self.noted.over(COPY, "copy KV from staging"):
                    self._import(action)
            elif not isinstance(action, Emit):
                self._outlet.send(action)
        if self._checks is not None:
            self._checks.after_actions()
