"""One worker: joins the HTTP layer, the step loop and the other half of the pair. Decides nothing itself.

Lives on the event loop's thread, except for the outlet methods (`emit`, `export`, `send`, `fatal`) that the step loop
calls. `launch_server` builds it; `http` sees it as an `EnginePort`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import random
import signal
import threading
import time
from collections.abc import AsyncGenerator, Callable
from collections.abc import Sequence as Many
from dataclasses import replace
from functools import partial
from pathlib import Path

from .actions import Action, Emit, ExportPages, WritePages
from .config import Mode, ServerConfig
from .errors import RankError
from .exchange import DecodeExchange, PrefillExchange
from .failpoints import NO_FAILPOINTS, Failpoints
from .http.port import ModelCard
from .kv import KVCache
from .kv_memory import KVMemory
from .lifecycle import DECODE, PREFILL, UNIFIED
from .log import record
from .metrics import EngineMetrics
from .model.executor import Executor
from .observation import cores_of, observe
from .page_checks import PageChecks
from .parallel.groups import Groups
from .parallel.ranks import RankedExecutor
from .peer.messages import Hello
from .prefill_core import PrefillCore
from .profiling import Profiling
from .profiling_spans import Spanned
from .profiling_trace import RankProfile
from .request import Finish, FinishKind, GenerateRequest, TokenEvent
from .sequence import Sequence
from .statistics import EngineStatistics, RankStatistics, TransferStatistics
from .step_loop import Core, StepLoop
from .streams import Stream, Streams
from .text.tokenizer import Tokenizer
from .throughput import Throughput
from .transfer.select import Selection

__all__ = ["Worker"]

_CYCLES = {Mode.UNIFIED: UNIFIED, Mode.PREFILL: PREFILL, Mode.DECODE: DECODE}
_CLIENT_GONE = Finish(FinishKind.ABORT, message="The request was aborted.", http_status=499)
_THROUGHPUT_WINDOW_S = 5.0
_LAST_STEP_S = 2.0
_LEAVE_S = 5.0


class _RequestMeter:
    """Times one request for the metrics."""

    def __init__(self, metrics: EngineMetrics, *, computes_prompt: bool) -> None:
        self._metrics = metrics
        self._computes_prompt = computes_prompt
        self._began = time.perf_counter()
        self._last = 0.0
        self._aborted = False

    def take(self, event: TokenEvent, prompt_tokens: int) -> None:
        now = time.perf_counter()
        if event.token_ids:
            first = not self._last
            if first:
                self._metrics.first_token(now - self._began)
            else:
                self._metrics.inter_token((now - self._last) / len(event.token_ids))
            self._last = now
            prompt, cached = (prompt_tokens, event.cached_tokens) if first and self._computes_prompt else (0, 0)
            self._metrics.tokens(prompt=prompt, generated=len(event.token_ids), cached=cached)
        if event.finish is not None and event.finish.kind is FinishKind.ABORT:
            self._aborted = True

    def abort(self) -> None:
        self._aborted = True

    def end(self) -> None:
        if self._aborted:
            self._metrics.request_aborted()
        else:
            self._metrics.request_finished(time.perf_counter() - self._began)


class Worker:
    """A prefill, decode or unified worker at work.

    Args:
        groups: the KV memory of each attention group; see `StepLoop`.
        ranks: tells what each rank is, has and has done so far.

    Attributes:
        startup: seconds per phase of the start.
        exchange: the way to the other half; None on a unified worker.
        dead: why it computes no more, in one sentence; empty while it does.
        noted: what a profile has beside torch's operations.
        profiling: its profiles.
    """

    def __init__(
        self,
        config: ServerConfig,
        card: ModelCard,
        tokenizer: Tokenizer,
        metrics: EngineMetrics,
        core: Core,
        executor: Executor,
        kv: KVCache,
        selection: Selection | None,
        failpoints: Failpoints = NO_FAILPOINTS,
        checks: PageChecks | None = None,
        groups: Many[KVMemory] = (),
        ranks: Callable[[], tuple[RankStatistics, ...]] = tuple,
    ) -> None:
        self._failpoints = failpoints
        self.config = config
        self.model = card
        self.tokenizer = tokenizer
        self.metrics = metrics
        self.core = core
        self.startup: dict[str, float] = {}
        self._executor = executor.info
        self.exchange: PrefillExchange | DecodeExchange | None = None
        self._selection = selection
        self._streams = Streams(config.max_running_requests + config.max_queued_requests)
        self._sequences: dict[int, Sequence] = {}
        self._loop = asyncio.get_running_loop()
        self._seeds = random.Random(config.random_seed or None)
        self._steps = StepLoop(core, executor, kv, self, self._observe, checks, config.niceness, groups)
        self.noted = self._steps.noted
        if isinstance(executor, Spanned):
            executor.noted = self.noted
        own = RankProfile(0, self.noted)
        others = executor if isinstance(executor, RankedExecutor) else None
        name = config.disaggregation_mode.role
        self.profiling = Profiling(self._steps.post, own, Path.cwd(), name, others, config.tp_size)
        self._throughput = Throughput(_THROUGHPUT_WINDOW_S)
        self._ranks = ranks
        self.dead = ""
        self.draining = False

    @property
    def alive(self) -> bool:
        """True while the worker computes and takes requests."""
        broken = self._selection is not None and self._selection.endpoint.failure
        return self._steps.alive and not self.dead and not self.draining and not broken

    @property
    def open_requests(self) -> int:
        """Requests that have a listener."""
        return len(self._streams)

    @property
    def spare(self) -> int:
        """How many more requests it takes now."""
        return self._streams.spare

    def post(self, stimulus: Callable[[float], None]) -> None:
        """Has `stimulus(now)` called between two steps; any thread."""
        self._steps.post(stimulus)

    def start(self) -> None:
        """Starts computing."""
        self._steps.start()

    async def stop(self) -> None:
        """Ends every request with an error, then the exchange and the step loop."""
        self._streams.fail_all("The worker is shutting down.", http_status=503)
        if self.exchange is not None:
            await self.exchange.stop()
        await asyncio.to_thread(self._steps.stop, _LAST_STEP_S if self.dead else None)
        if self._selection is not None:
            await asyncio.to_thread(self._selection.endpoint.close)

    async def submit(self, request: GenerateRequest) -> AsyncGenerator[TokenEvent, None]:
        """Yields the request's events; ends after its finish, or on prefill after the hand-over.

        Raises:
            CapacityError: too many requests are open.
            ConflictError: the request's room is active.
        """
        stream = self._streams.open(request)
        sequence = self._sequence(stream)
        self._sequences[stream.key] = sequence
        self.metrics.request_started()
        self._reached(Mode.PREFILL, "prefill.received")
        self._reached(Mode.DECODE, "decode.received")
        if (finish := sequence.replay_finish()) is not None:  # the earlier try ended just behind its last token
            self._streams.deliver([Emit(stream.key, finish=finish)])
        else:
            self.post(partial(self.core.submit, sequence))
        meter = _RequestMeter(self.metrics, computes_prompt=self.config.disaggregation_mode is not Mode.DECODE)
        told = False
        try:
            while (event := await stream.events.get()) is not None:
                meter.take(event, sequence.prefill_tokens)
                yield event
                if event.token_ids:
                    self._reached(Mode.DECODE, "decode.while_streaming" if told else "decode.after_first_token")
                    told = True
        except asyncio.CancelledError:
            meter.abort()  # its client left; a listener that has enough (a stop string) closes the iterator instead
            raise
        finally:
            if not stream.ended:
                self._abort(stream.key)
            meter.end()
            self._streams.close(stream)
            self._sequences.pop(stream.key, None)

    def _reached(self, mode: Mode, point: str) -> None:
        if self.config.disaggregation_mode is mode:
            self._failpoints.hit(point)

    def _sequence(self, stream: Stream) -> Sequence:
        request, sampling = stream.request, stream.request.sampling
        output = sampling.max_new_tokens if sampling.max_new_tokens is not None else self.model.context_length
        bootstrap = request.bootstrap
        cycle = _CYCLES[self.config.disaggregation_mode]
        is_decode = bootstrap is not None and self.config.disaggregation_mode is Mode.DECODE
        return Sequence(
            key=stream.key,
            request=request,
            cycle=cycle,
            seed=self._seeds.getrandbits(63) if sampling.seed is None else sampling.seed,
            limit=min(len(request.prompt_ids) + output, self.model.context_length),
            stop_ids=frozenset(sampling.stop_token_ids)
            | (frozenset() if sampling.ignore_eos else frozenset(self.model.eos_ids)),
            tokens=[*request.prompt_ids, *request.replayed_ids],
            state=cycle.start,
            expires_at=math.inf if request.deadline_s is None else time.monotonic() + request.deadline_s,
            peer=f"{bootstrap.host}:{bootstrap.port}" if bootstrap is not None and is_decode else "",
        )

    def _abort(self, key: int) -> None:
        if (sequence := self._sequences.get(key)) is not None:
            self.post(lambda now: self.core.abort(sequence, _CLIENT_GONE, now))

    def abort(self, rid: str) -> bool:
        """Gives up the requests with this id, all of them for an empty one; returns whether there were any."""
        streams = self._streams.named(rid)
        for stream in streams:
            self._abort(stream.key)
        return bool(streams)

    async def flush_cache(self) -> bool:
        """Empties the prefix cache of an idle worker; returns whether it is idle. Only prefill has one."""
        if len(self._streams):
            return False
        caches = [core.prefix for core in cores_of(self.core) if isinstance(core, PrefillCore)]
        if caches:
            flushed = asyncio.Event()

            def flush(now: float) -> None:
                for cache in caches:
                    cache.flush()
                self._loop.call_soon_threadsafe(flushed.set)

            self.post(flush)
            await flushed.wait()
        return True

    def emit(self, emits: Many[Emit]) -> None:
        """Outlet of the step loop."""
        self._loop.call_soon_threadsafe(self._streams.deliver, emits)

    def export(self, action: ExportPages | WritePages) -> None:
        """Outlet of the step loop."""
        assert self.exchange is not None
        self.exchange.export(action)

    def send(self, action: Action) -> None:
        """Outlet of the step loop."""
        assert self.exchange is not None
        self.exchange.send(action)

    def fatal(self, reason: str) -> None:
        """The step loop or a rank is dead: tells every client, then ends the process so that its runner sees it."""
        if self.dead:
            return  # a step breaks when a rank does
        self.dead = reason
        record("fatal", level=logging.ERROR, reason=reason)
        self._loop.call_soon_threadsafe(self._die)

    def ranks_changed(self) -> None:
        """A rank is gone, and the others go on."""
        self._steps.ranks_changed()

    def leave_peers(self) -> None:
        """Ends what peers have with this worker; returns when none hears of it. On the step loop's thread.

        Raises:
            RankError: that takes too long.
        """
        exchange, left = self.exchange, threading.Event()

        def leave() -> None:
            if exchange is not None:
                exchange.leave("this worker has lost a rank")
            left.set()

        self._loop.call_soon_threadsafe(leave)
        if not left.wait(_LEAVE_S):
            raise RankError(f"The worker did not let its peers go within {_LEAVE_S:g} s.")

    def come_back(self, selection: Selection | None, hello: Hello | None) -> None:
        """Shows itself to peers again, as what `hello` says; any thread.

        Args:
            selection: the transport that it has now.
        """
        self._selection = selection
        if self.exchange is not None and hello is not None:
            self._loop.call_soon_threadsafe(self.exchange.come_back, hello, self.config.port)

    def _die(self) -> None:
        self._streams.fail_all("The worker failed; see its log.", http_status=500)
        self._loop.call_later(0.5, os.kill, os.getpid(), signal.SIGTERM)

    def statistics(self) -> EngineStatistics:
        """Returns queues, pools and speed as they were after the last step or stimulus."""
        observed = self._steps.observed
        total, *each = self._throughput.take(
            time.monotonic(), (self._steps.generated, *(self.core.generated if isinstance(self.core, Groups) else ()))
        )
        exchange, ranks = self.exchange, tuple(self._ranks())
        if exchange is not None:
            ranks = (replace(ranks[0], bounce=exchange.bounce_in_use), *ranks[1:]) if ranks else ()
        return replace(
            observed,
            groups=tuple(replace(one, gen_throughput=rate) for one, rate in zip(observed.groups, each, strict=True)),
            integrity_errors=self._steps.integrity_errors,
            gen_throughput=total,
            startup=self.startup,
            executor=self._executor,
            transfer=self._transfer(),
            ranks=ranks,
            open=replace(
                observed.open,
                requests=self.open_requests,
                sends=exchange.open_sends if exchange is not None else 0,
            ),
        )

    def answer_lost(self, peer: str, reason: str) -> None:
        """Tells the clients of a lost peer at once; the core, which may be in a long step, gives the rooms up later."""
        finish = Finish(FinishKind.ABORT, message=reason, http_status=502)
        lost = [key for key, sequence in self._sequences.items() if sequence.peer == peer and sequence.needs_peer]
        self._streams.deliver([Emit(key, finish=finish) for key in lost])
        for key in lost:  # one that the peer's last message saves from that has nobody who listens any more
            self._abort(key)

    def load(self) -> tuple[int, int]:
        """Returns staging pages that can be had and waiting requests, for the pings."""
        now = self._steps.observed
        return now.staging.free + now.staging.cached if now.staging is not None else 0, now.queued

    def _observe(self) -> EngineStatistics:
        """Runs on the step loop's thread, which alone may look into the core."""
        return observe(self.core, self.config.page_size)

    def _transfer(self) -> TransferStatistics | None:
        if self._selection is None:
            return None
        selection = self._selection
        notice = selection.endpoint.failure or " ".join(filter(None, (selection.notice, selection.staged)))
        return TransferStatistics(selection.requested, selection.used, notice)
