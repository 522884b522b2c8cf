"""Counts what the requests of a load came to, while it goes on and at its end.

Pure but for the times that it is given. Made and fed by `driver`, which alone knows when what happens.
"""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import dataclass

from .client import Outcome
from .result import LATENCIES, ErrorCount, LoadResult, Progress
from .spec import Arrival, LoadSpec
from .statistics import Spread, curve, quantile, spread

__all__ = ["WINDOW_S", "Tally"]

WINDOW_S = 5.0
# More values than this are thinned for the live percentiles; the result has all of them.
_MOST_LIVE = 20_000


@dataclass(slots=True)
class _Error:
    text: str
    count: int = 0


class Tally:
    """The counts of one load, times in s of one monotonic clock.

    Args:
        spec: for the limits that good requests keep.
        began_s: when the measured part begins.
    """

    def __init__(self, spec: LoadSpec, began_s: float) -> None:
        self.sent = self.completed = self.failed = self.running = self.highest = 0
        self.began_s = began_s
        self._spec = spec
        self._last_s = began_s
        self._changed_s = began_s
        self._area = 0.0
        self._good = 0
        self._input = self._output = 0
        self._values = {name: array("d") for name in LATENCIES}
        self._errors: dict[str, _Error] = {}
        self._tokens: deque[tuple[float, int, float]] = deque()
        self._firsts: deque[tuple[float, float]] = deque()
        self._ends: deque[tuple[float, int]] = deque()

    def send(self, now: float) -> None:
        """Counts a request that is sent."""
        self._change(now, 1)
        self.sent += 1

    def saw(self, now: float, count: int, gap: float) -> None:
        """Counts tokens that arrive; see `reading.AnswerReader`."""
        self._tokens.append((now, count, gap))

    def leave(self, now: float) -> None:
        """Counts a request that was cut off: it is under way no more, and measured nothing."""
        self._change(now, -1)

    def end(self, outcome: Outcome, now: float, input_length: int) -> None:
        """Counts what a request came to; `input_length` serves where the server does not count the prompt."""
        self._change(now, -1)
        self._last_s = max(self._last_s, outcome.ended_s)
        reader = outcome.reader
        if outcome.failure is not None:
            self.failed += 1
            error = self._errors.setdefault(outcome.failure.kind, _Error(outcome.failure.text))
            error.count += 1
            return
        assert reader.first_s is not None and reader.last_s is not None
        self.completed += 1
        tokens = reader.output_tokens if reader.output_tokens is not None else reader.tokens
        self._input += reader.prompt_tokens if reader.prompt_tokens is not None else input_length
        self._output += tokens
        ttft, e2e = reader.first_s - reader.sent_s, reader.last_s - reader.sent_s
        self._values["ttft"].append(ttft)
        self._values["e2e"].append(e2e)
        self._values["itl"].extend(reader.gaps)
        tpot = (reader.last_s - reader.first_s) / (tokens - 1) if tokens > 1 else None
        if tpot is not None:
            self._values["tpot"].append(tpot)
        self._firsts.append((now, ttft))
        self._ends.append((now, reader.prompt_tokens if reader.prompt_tokens is not None else input_length))
        self._good += self._is_good(ttft, tpot)

    def _is_good(self, ttft: float, tpot: float | None) -> bool:
        spec = self._spec
        if spec.slo_ttft_ms is not None and ttft * 1000 > spec.slo_ttft_ms:
            return False
        return spec.slo_itl_ms is None or tpot is None or tpot * 1000 <= spec.slo_itl_ms

    def _change(self, now: float, step: int) -> None:
        self._area += self.running * (now - self._changed_s)
        self._changed_s = now
        self.running += step
        self.highest = max(self.highest, self.running)

    def progress(self, now: float) -> Progress:
        """Returns a sample; what is older than the window is forgotten."""
        oldest = now - WINDOW_S
        for recent in (self._tokens, self._firsts, self._ends):
            while recent and recent[0][0] < oldest:
                recent.popleft()
        # A young load is divided by its own age.
        span = max(0.5, min(WINDOW_S, now - self.began_s))
        gaps = [gap for _, _, gap in self._tokens if gap >= 0]
        ttfts = sorted(ttft for _, ttft in self._firsts)
        if len(gaps) > _MOST_LIVE:
            gaps = gaps[:: len(gaps) // _MOST_LIVE + 1]
        gaps.sort()
        return Progress(
            at_s=now - self.began_s,
            sent=self.sent,
            running=self.running,
            completed=self.completed,
            failed=self.failed,
            requests_per_s=len(self._ends) / span,
            input_tokens_per_s=sum(tokens for _, tokens in self._ends) / span,
            output_tokens_per_s=sum(count for _, count, _ in self._tokens) / span,
            ttft_p50_s=quantile(ttfts, 0.5) if ttfts else None,
            ttft_p99_s=quantile(ttfts, 0.99) if ttfts else None,
            itl_p50_s=quantile(gaps, 0.5) if gaps else None,
            itl_p99_s=quantile(gaps, 0.99) if gaps else None,
        )

    def result(
        self,
        now: float,
        *,
        started_at: float,
        model: str,
        prompts_from: str,
        cut: int,
        lags: array[float],
        ended: str,
        notes: tuple[str, ...] = (),
    ) -> LoadResult:
        """Returns everything, now that nothing more comes.

        Args:
            now: when the load ended; with requests cut off their time counts too.
            started_at: unix seconds.
            model: as it was asked.
            prompts_from: in a few words.
            cut: requests that were cut off.
            lags: how late the generator's own timers were, in s.
            ended: see LoadResult.
            notes: what a reader must know, one sentence each.
        """
        self._change(now, 0)
        end_s = now if cut else self._last_s
        if not cut and self._spec.duration_s and self._spec.arrival in (Arrival.POISSON, Arrival.CONSTANT):
            # Nobody came in the last part of the wanted time: it counts all the same.
            counted = self._spec.requests is None or self.sent < self._spec.requests
            end_s = max(end_s, self.began_s + self._spec.duration_s) if counted and ended == "finished" else end_s
        duration = max(end_s - self.began_s, 1e-9)
        spreads: dict[str, Spread | None] = {name: spread(values) for name, values in self._values.items()}
        limited = self._spec.slo_ttft_ms is not None or self._spec.slo_itl_ms is not None
        return LoadResult(
            model=model,
            prompts_from=prompts_from,
            started_at=started_at,
            duration_s=duration,
            sent=self.sent,
            completed=self.completed,
            failed=self.failed,
            cut=cut,
            errors=tuple(
                ErrorCount(kind, error.count, error.text)
                for kind, error in sorted(self._errors.items(), key=lambda item: -item[1].count)
            ),
            input_tokens=self._input,
            output_tokens=self._output,
            concurrency_mean=self._area / max(now - self.began_s, 1e-9),
            concurrency_max=self.highest,
            good=self._good if limited else None,
            lag_p99_s=quantile(sorted(lags), 0.99) if lags else 0.0,
            curves={name: curve(values) for name, values in self._values.items()},
            ended=ended,
            notes=notes,
            **spreads,
        )
