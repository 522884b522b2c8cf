"""`pdpanel bench scale`: what batch, context, prompt length, workers and clients cost, each against its smallest case.

Batch and context are measured on the executor by itself, the rest through the router of a run that serves, with the
load generator. A growth that is more than linear is said in the figure's note. Beside it: what an idle run takes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ....engine.errors import PeerError
from ...config import inherited_environment
from ...deployment import Deployment, parse_deployment
from ...runs import Runs
from ..comparison import Comparison, Goal, interleave
from ..session import BenchRun, running
from ..small_model import write_small_model
from ..suite import SuiteOptions
from .scale_growth import medians_of, said_of
from .scale_load import Clients, idle_percents, load, memory_mb
from .scale_steps import BATCH_CONTEXT, step_times

__all__ = ["Sizes", "measure"]

_IDLE = Goal(at_most=1.0)
_WORKERS: Mapping[str, Mapping[str, int]] = {
    "1p1d": {"prefill": 1, "decode": 1},
    "1p2d": {"prefill": 1, "decode": 2},
    "2p1d": {"prefill": 2, "decode": 1},
}
_ROLE_NOTE = "More workers than cores share them: they add room for requests and prompts beside each other, not speed."
_CORE_NOTE = "of one core"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each kind is measured.

    Attributes:
        crowd: a load of clients with the requests of each round at the least, its prompt and its output.
        busy: the load that tells workers apart.
        settle_s: after which a run counts as idle, for `idle_s` in each round.
    """

    batches: Sequence[int]
    contexts: Sequence[int]
    prompts: Sequence[int]
    clients: Sequence[int]
    workers: Sequence[str]
    crowd: Clients
    busy: Clients
    settle_s: float
    idle_s: float


_FULL = Sizes(
    batches=(1, 2, 4, 8, 16, 32),
    contexts=(128, 512, 1024, 2048, 4096),
    prompts=(128, 512, 1024, 2048, 4000),
    clients=(1, 8, 32, 128, 512),
    workers=tuple(_WORKERS),
    crowd=Clients(0, 24, prompt=8, output=8),
    busy=Clients(8, 24, prompt=128, output=32),
    settle_s=3.0,
    idle_s=30.0,
)
_SHORT = Sizes(
    batches=(1, 2, 4),
    contexts=(128, 256),
    prompts=(16, 64),
    clients=(1, 4),
    workers=("1p1d",),
    crowd=Clients(0, 4, prompt=8, output=4),
    busy=Clients(2, 4, prompt=16, output=4),
    settle_s=0.2,
    idle_s=1.0,
)


def measure(options: SuiteOptions, runs: Runs, tell: Callable[[str], None]) -> Iterator[Comparison]:
    """Yields the costs; each figure's peer is the smallest case of the same run.

    Raises:
        PdpanelError: a run does not come up, or a request fails.
    """
    sizes, rounds = (_SHORT, 1) if options.short else (_FULL, options.rounds)
    with tempfile.TemporaryDirectory(prefix="pdpanel-scale-") as folder:
        model = str(write_small_model(Path(folder) / "model")) if options.short else options.model
        yield from _executor(options, runs, model, sizes, rounds, tell)
        kinds = ("idle", "prompt", "clients")
        if any(_asks(options, kind) for kind in kinds):
            with running(runs, _deployment(model, "1p1d", max(sizes.clients)), tell) as run:
                yield from _idle(options, run, sizes, rounds, tell)
                yield from _prompts(options, run, sizes, rounds, tell)
                yield from _clients(options, run, sizes, rounds, tell)
        yield from _workers(options, runs, model, sizes, rounds, tell)


def _asks(options: SuiteOptions, kind: str) -> bool:
    """Returns whether a case of that kind is wanted, or the kind as a whole."""
    return not options.only or any(name.partition("=")[0].partition(",")[0] == kind for name in options.only)


def _wanted(options: SuiteOptions, kind: str, sizes: Sequence[int]) -> list[int]:
    """Returns the sizes that are measured: the wanted ones, and the smallest, which they are held against."""
    if not _asks(options, kind):
        return []
    chosen = [size for size in sizes if options.wants(f"{kind}={size}")]
    return sorted({min(sizes), *chosen}) if chosen else []


def _executor(
    options: SuiteOptions, runs: Runs, model: str, sizes: Sizes, rounds: int, tell: Callable[[str], None]
) -> Iterator[Comparison]:
    wanted = {"batch": _wanted(options, "batch", sizes.batches), "context": _wanted(options, "context", sizes.contexts)}
    wanted = {kind: each for kind, each in wanted.items() if each}
    if not wanted:
        return
    tell("the executor by itself")
    plan = runs.preview(_deployment(model, "1p1d", 1))
    threads = int(plan.processes[0].env.get("OMP_NUM_THREADS", "1"))
    cache = {} if plan.prepare is None else {"PDPANEL_CACHE_DIR": plan.prepare.cache_dir}
    times, path = step_times(inherited_environment() | cache, model, wanted, rounds, threads)
    path = f"{path}, {threads} thread{'' if threads == 1 else 's'} as a worker has"
    for kind, each in wanted.items():
        of_kind = times[kind]
        beside = f"context {BATCH_CONTEXT}" if kind == "batch" else "batch 1"
        yield from _growth(kind, "step", "ms", of_kind, f"{path}, {beside}", line=kind == "context")
        speeds = {size: [(size if kind == "batch" else 1) * 1000 / ms for ms in of_kind[size]] for size in each}
        yield from _growth(kind, "tokens_per_s", "tokens/s", speeds, beside, is_cost=False)


def _growth(
    kind: str,
    metric: str,
    unit: str,
    values: Mapping[int, Sequence[float]],
    note: str = "",
    *,
    is_cost: bool = True,
    line: bool = True,
) -> Iterator[Comparison]:
    """Yields each size against the smallest; a cost that grows more than linearly says so (`line`: `said_of`)."""
    smallest, middles = min(values), medians_of(values)
    for size in sorted(values):
        said = said_of(middles, size, line=line) if is_cost else ""
        told = "; ".join(part for part in (said, note) if part)
        case = f"{kind}={size}"
        if size == smallest:
            yield Comparison(case, metric, unit, values[size], note=told)
        else:
            yield Comparison(case, metric, unit, values[size], f"{kind}={smallest}", values[smallest], note=told)


def _deployment(model: str, workers: str, clients: int) -> Deployment:
    """Returns a deployment as a person gets it, but that no client of a crowd is refused."""
    roles = _WORKERS[workers]
    return parse_deployment(
        {
            "name": "bench-scale",
            "model": model,
            **{role: {"count": count} for role, count in roles.items()},
            "workers": {"flags": {"max-queued-requests": str(2 * clients + 64)}},
        }
    )


def _idle(
    options: SuiteOptions, run: BenchRun, sizes: Sizes, rounds: int, tell: Callable[[str], None]
) -> Iterator[Comparison]:
    if not _asks(options, "idle"):
        return
    tell("idle")
    idle_percents(run, sizes.settle_s, 1)  # what follows a start is not idleness yet
    for name, values in idle_percents(run, sizes.idle_s / rounds, rounds).items():
        yield Comparison(f"idle,process={name}", "idle_cpu_percent", "%", values, goal=_IDLE, note=_CORE_NOTE)
    for name, size in memory_mb(run).items():
        yield Comparison(f"idle,process={name}", "rss", "MB", [size])


def _prompts(
    options: SuiteOptions, run: BenchRun, sizes: Sizes, rounds: int, tell: Callable[[str], None]
) -> Iterator[Comparison]:
    wanted = _wanted(options, "prompt", sizes.prompts)
    if not wanted:
        return
    tell("prompt lengths")
    asked = iter(range(1, 1 << 30))
    load(run, Clients(1, 1, min(wanted), 2))  # the first request finds the way from decode to prefill

    def first_token_ms(length: int) -> float:
        result = load(run, Clients(1, 1, length, 2, seed=next(asked)))
        if result.ttft is None:
            raise PeerError("The load tells no time to the first token.")
        return 1000 * result.ttft.p50

    found = interleave({str(length): partial(first_token_ms, length) for length in wanted}, rounds)
    times = {length: found[str(length)] for length in wanted}
    yield from _growth("prompt", "ttft", "ms", times, "one client through the router")
    speeds = {length: [1000 * length / ms for ms in times[length]] for length in wanted}
    yield from _growth("prompt", "prompt_tokens_per_s", "tokens/s", speeds, is_cost=False)


def _clients(
    options: SuiteOptions, run: BenchRun, sizes: Sizes, rounds: int, tell: Callable[[str], None]
) -> Iterator[Comparison]:
    wanted = _wanted(options, "clients", sizes.clients)
    if not wanted:
        return
    tell("concurrent clients")
    crowd, seeds = sizes.crowd, iter(range(1, 1 << 30))
    waits: dict[int, list[float]] = {count: [] for count in wanted}
    gaps: dict[int, list[float]] = {count: [] for count in wanted}
    memory: dict[int, dict[str, float]] = {}
    load(run, Clients(1, 1, crowd.prompt, crowd.output))

    def tokens_per_s(count: int) -> float:
        requests = max(crowd.requests, count)
        result = load(run, Clients(count, requests, crowd.prompt, crowd.output, seed=next(seeds)))
        if result.ttft is None or result.itl is None:
            raise PeerError("The load tells no latencies.")
        waits[count].append(1000 * result.ttft.p50)
        gaps[count].append(1000 * result.itl.p50)
        now = memory_mb(run)
        memory[count] = {name: max(size, memory.get(count, {}).get(name, 0.0)) for name, size in now.items()}
        return result.per_s(result.output_tokens)

    found = interleave({str(count): partial(tokens_per_s, count) for count in wanted}, rounds)
    asked = f"prompt {crowd.prompt}, output {crowd.output}"
    speeds = {count: found[str(count)] for count in wanted}
    yield from _growth("clients", "tokens_per_s", "tokens/s", speeds, asked, is_cost=False)
    yield from _growth(
        "clients", "ttft_p50", "ms", waits, f"{asked}; what does not fit into the batch waits", line=False
    )
    yield from _growth("clients", "itl_p50", "ms", gaps, asked, line=False)
    for count, by_process in memory.items():
        for name, size in by_process.items():
            yield Comparison(f"clients={count},process={name}", "rss", "MB", [size], note="the most up to then")


def _workers(
    options: SuiteOptions, runs: Runs, model: str, sizes: Sizes, rounds: int, tell: Callable[[str], None]
) -> Iterator[Comparison]:
    chosen = [name for name in sizes.workers if options.wants(f"workers={name}")]
    if not chosen:
        return
    names = [sizes.workers[0], *(name for name in chosen if name != sizes.workers[0])]
    seeds = iter(range(1, 1 << 30))

    def tokens_per_s(name: str) -> float:
        busy = sizes.busy
        with running(runs, _deployment(model, name, busy.at_once), tell) as run:
            result = load(run, replace(busy, seed=next(seeds)))
            return result.per_s(result.output_tokens)

    found = interleave({name: partial(tokens_per_s, name) for name in names}, rounds)
    asked = f"{sizes.busy.at_once} clients, prompt {sizes.busy.prompt}, output {sizes.busy.output}"
    for name in names:
        case, values = f"workers={name}", found[name]
        if name == names[0]:
            yield Comparison(case, "tokens_per_s", "tokens/s", values, note=asked)
        else:
            note = f"{asked}. {_ROLE_NOTE}"
            yield Comparison(case, "tokens_per_s", "tokens/s", values, names[0], found[names[0]], note=note)
