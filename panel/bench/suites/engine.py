"""The `engine` suite: the bundled engine against what else runs the same model on a CPU, and what limits it.

Each contender is a process that loads once (`engine_contender`); the rounds of a case go through all of them. Peers
compute from the same weights: transformers from our float32 tensors, llama.cpp from the GGUF file that they came from.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ....engine.config import read_environment
from ....engine.errors import PeerError
from ....engine.model.store import ResolvedModel, resolve_model
from ...runs import Runs
from ..comparison import Comparison, Goal
from ..suite import SuiteOptions
from .engine_cases import DecodeCase, EngineCases, PrefillCase, at_least, cases_of, thread_counts
from .engine_contender import Contender, Setup, close_all
from .engine_race import Rates, Variant, best_of, compared, race

__all__ = ["measure"]

_OURS, _TRANSFORMERS, _MEMORY = "pdpanel", "transformers fp32", "memory"
# Peers by name: the program, its package, and what installs it.
_PEERS = {
    _TRANSFORMERS: ("transformers", "transformers", "transformers>=5.20"),
    "transformers continuous batching": ("transformers-continuous", "transformers", "transformers>=5.20"),
    "ik-llama-cpp-python": ("ik-llama", "ik-llama-cpp-python", "ik-llama-cpp-python==0.1.5"),
    "xllamacpp": ("xllamacpp", "xllamacpp", "xllamacpp==2026.10.*"),
}
_NEED_GGUF = frozenset({"ik-llama", "xllamacpp"})
_BANDWIDTH_GOAL = Goal(at_least=0.5)
_TOP1_GOAL, _KL_GOAL = Goal(at_least=0.99), Goal(at_most=0.005)

Tell = Callable[[str], None]


def measure(options: SuiteOptions, runs: Runs, tell: Tell) -> Iterator[Comparison]:
    """Yields the figures case by case, then quality and profile, then what a GPU of this host does.

    Raises:
        PdpanelError: the model cannot be had, or our own engine does not come up.
    """
    model = _fetched(options, runs, tell)
    cases = cases_of(short=options.short)
    suite = _Suite(options, str(runs.cache_dir), cases, tell)
    decode = [case for case in cases.decode if options.wants(case.name)]
    prefill = [case for case in cases.prefill if options.wants(case.name)]
    if decode or prefill:
        with ExitStack() as stack:
            field = suite.started(stack, model)
            for case in decode:
                yield from suite.decode(field, case)
            for case in prefill:
                yield from suite.prefill(field, case)
    yield from suite.quality()
    yield from suite.profile()
    from .engine_gpu import measure_gpu  # only now: it imports torch, which would count among the contenders

    yield from measure_gpu(options, tell)


def _fetched(options: SuiteOptions, runs: Runs, tell: Tell) -> ResolvedModel:
    environment = replace(read_environment(), cache_dir=runs.cache_dir)
    stages: set[str] = set()

    def say(progress: Any) -> None:
        if progress.stage not in stages:
            stages.add(progress.stage)
            tell(f"{options.model}: {progress.stage}")

    return resolve_model(options.model, environment, say)


class _Suite:
    """What all cases share."""

    def __init__(self, options: SuiteOptions, cache_dir: str, cases: EngineCases, tell: Tell) -> None:
        self._options, self._cache_dir, self._cases, self._tell = options, cache_dir, cases, tell
        self._cores = len(os.sched_getaffinity(0))
        self._threads = (1,) if options.short else thread_counts(self._cores)
        self._failed: set[Variant] = set()

    def _contender(self, program: str, threads: int) -> Contender:
        options = self._options
        longest = max(self._cases.longest, self._cases.text)
        return Contender(Setup(program, threads, self._cores, options.model, self._cache_dir, longest, options.seed))

    def started(self, stack: ExitStack, model: ResolvedModel) -> dict[Variant, Contender]:
        """Starts all contenders, all at once; those that cannot be had are told and left out."""
        names = {_OURS: "pdpanel", _MEMORY: "memory"}
        for name, (program, package, requirement) in _PEERS.items():
            if not _is_installed(package):
                self._tell(f'{name} is left out: .venv/bin/pip install "{requirement}" brings it')
            elif program in _NEED_GGUF and Path(model.source).suffix.lower() != ".gguf":
                self._tell(f"{name} is left out: the model is no GGUF file")
            else:
                names[name] = program
        field: dict[Variant, Contender] = {}
        started: list[Contender] = []
        stack.callback(close_all, started)
        for name, program in names.items():
            for threads in self._threads:
                field[Variant(name, threads)] = self._contender(program, threads)
                started.append(field[Variant(name, threads)])
        for variant, contender in list(field.items()):
            try:
                about = contender.wait_ready()
                self._tell(f"{variant} is ready{': ' if (words := _words(about)) else ''}{words}")
            except PeerError as error:
                if variant.name == _OURS:
                    raise
                self._tell(f"{variant} is left out: {error}")
                del field[variant]
        return field

    def _rates(self, case: str, field: dict[Variant, Contender], rate: Callable[[Contender], float]) -> Rates:
        """Returns the rates of a case; a peer that fails is told, and left out from then on."""

        def once(variant: Variant) -> float:
            if variant in self._failed:
                return 0.0
            self._tell(f"{case}: {variant}")
            try:
                return rate(field[variant])
            except PeerError as error:
                if variant.name == _OURS:
                    raise
                self._tell(f"{variant} is left out: {error}")
                self._failed.add(variant)
                return 0.0

        entered = [variant for variant in field if variant not in self._failed]
        measures = {variant: partial(once, variant) for variant in entered}
        found = race(measures, self._options.rounds, _PEERS, _TRANSFORMERS)
        return {variant: rates for variant, rates in found.items() if variant not in self._failed}

    def decode(self, field: dict[Variant, Contender], case: DecodeCase) -> Iterator[Comparison]:
        """Yields tokens per second of a batch; for one sequence the share of the bandwidth bound, too."""
        alone = case.batch == 1

        def rate(contender: Contender) -> float:
            if contender.setup.program == "memory":
                return contender.ask("read")
            return case.batch / contender.ask("decode", batch=case.batch, context=case.context, steps=case.steps)

        chosen = {v: c for v, c in field.items() if alone or v.name != _MEMORY}
        found = self._rates(case.name, chosen, rate)
        reads = {variant: found.pop(variant) for variant in list(found) if variant.name == _MEMORY}
        yield from self._compared(case, "decode_tokens_per_s", found, field)
        if alone:
            yield from self._shares(case, found, reads, field)

    def prefill(self, field: dict[Variant, Contender], case: PrefillCase) -> Iterator[Comparison]:
        """Yields prompt tokens per second."""
        chosen = {variant: contender for variant, contender in field.items() if variant.name != _MEMORY}
        found = self._rates(case.name, chosen, lambda one: case.prompt / one.ask("prefill", prompt=case.prompt))
        yield from self._compared(case, "prefill_tokens_per_s", found, field)

    def _compared(
        self, case: DecodeCase | PrefillCase, metric: str, found: Rates, field: dict[Variant, Contender]
    ) -> list[Comparison]:
        own = best_of(found, _OURS)
        assert own is not None
        goals = {_TRANSFORMERS: at_least(case.over_transformers)}
        fastest = at_least(case.over_fastest)
        return compared(
            case.name, metric, found, _OURS, goals=goals, fastest_goal=fastest, note=_words(field[own].about)
        )

    def _shares(
        self, case: DecodeCase, found: Rates, reads: Rates, field: dict[Variant, Contender]
    ) -> Iterator[Comparison]:
        best = best_of(found, _OURS)
        for variant, rates in found.items():
            bandwidth = reads.get(Variant(_MEMORY, variant.threads))
            if variant.name != _OURS or not bandwidth:
                continue
            size, read = field[variant].about["step_bytes"], statistics.median(bandwidth)
            note = f"{size / 1e6:.4g} MB of weights a step, {read / 1e9:.3g} GB/s read with as many threads"
            goal = _BANDWIDTH_GOAL if variant == best and case.over_fastest is not None else None
            shares = [rate * size / read for rate in rates]
            name = f"{case.name},threads={variant.threads}"
            yield Comparison(name, "bandwidth_share", "", shares, goal=goal, note=note)

    def quality(self) -> Iterator[Comparison]:
        """Yields top-1 agreement and KL of the default mode against float32."""
        tokens = self._cases.text
        if not self._options.wants(f"text={tokens}"):
            return
        self._tell(f"quality on {tokens} tokens")
        with ExitStack() as stack:
            contender = self._contender("quality", self._cores)
            stack.callback(contender.close)
            contender.wait_ready()
            for path, figures in contender.ask("compare", tokens=tokens).items():
                case = f"text={figures['tokens']},path={path}"
                yield Comparison(case, "top1_agreement", "", [figures["top1_agreement"]], goal=_TOP1_GOAL)
                yield Comparison(case, "kl", "nats", [figures["kl"]], goal=_KL_GOAL)

    def profile(self) -> Iterator[Comparison]:
        """Yields where the milliseconds of a step and of a chunk go, and the bound of each."""
        if not self._options.wants("profile="):
            return
        context = self._cases.decode[0].context
        chunk = min(512, self._cases.longest)
        self._tell("profile of a decode step and of a prompt chunk")
        with ExitStack() as stack:
            threads = max(self._threads)
            ours, memory = self._contender("profile", threads), self._contender("memory", threads)
            stack.callback(close_all, (ours, memory))
            about = ours.wait_ready()
            memory.wait_ready()
            step_s = about["step_bytes"] / max(memory.ask("read") for _ in range(3))
            chunk_s = ours.ask("operations", tokens=chunk) / max(memory.ask("products") for _ in range(3))
            words = f"{threads} threads; {_words(about)}" if threads > 1 else f"1 thread; {_words(about)}"
            for case, parts, bound, what in (
                (f"profile=decode,batch=1,context={context}", ours.ask("decode", context=context), step_s, "reading"),
                (f"profile=prefill,chunk={chunk}", ours.ask("chunk", tokens=chunk), chunk_s, "fp32 products"),
            ):
                for part, taken in parts.items():
                    yield Comparison(case, part, "ms", [taken], note=words if part == "whole" else "")
                yield Comparison(case, "bound", "ms", [1e3 * bound], note=f"of {what}, measured in the same run")


def _words(about: dict[str, Any]) -> str:
    """Returns the path that a contender computes on."""
    words = {
        "executor": "{}",
        "weights": "weights {}",
        "decode": "decode multiplies {}",
        "attention": "attention {}",
        "kv_dtype": "KV {}",
    }
    parts = [said.format(about[name]) for name, said in words.items() if about.get(name)]
    return ", ".join([*parts, *(f"built for {name}" for name in [about.get("built_for")] if name)])


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
