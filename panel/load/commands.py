"""The same load as a command of SGLang's, vLLM's and our own program. Pure.

Flags are those that the programs have had since SGLang 0.4.5 and vLLM 0.10; what a program cannot say is told as a
remark instead of left out in silence.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from .lengths import Lengths, parse_lengths
from .spec import Arrival, LoadSpec, Route

__all__ = ["Equivalent", "equivalents"]

# Requests that a load by duration comes to, where a program knows numbers alone.
_UNKNOWN_COUNT = 64


@dataclass(frozen=True, slots=True)
class Equivalent:
    """A command, for a shell, and what it does otherwise than the load."""

    program: str
    command: str
    remarks: tuple[str, ...] = ()


def equivalents(spec: LoadSpec, model: str) -> tuple[Equivalent, ...]:
    """Returns the commands.

    Args:
        spec: the load, `checked`.
        model: as the server names it; the programs load its tokenizer, so it should be a path or Hub id too.
    """
    return (_own(spec), _sglang(spec, model), _vllm(spec, model))


def _own(spec: LoadSpec) -> Equivalent:
    words = ["pdpanel", "load", spec.url]
    if spec.arrival is Arrival.BURST:
        words.append("--burst")
    if spec.rate is not None:
        words += ["--rate", f"{spec.rate:g}"]
    if spec.arrival is Arrival.CONSTANT:
        words.append("--constant")
    pairs = {
        "--concurrency": spec.concurrency,
        "--requests": spec.requests,
        "--duration": spec.duration_s,
        "--warmup": spec.warmup,
        "--input": "" if spec.prompts else spec.input,
        "--output": spec.output,
        "--prompts": spec.prompts,
        "--model": spec.model,
        "--route": "" if spec.route is Route.COMPLETIONS else spec.route.value,
        "--seed": spec.seed,
        "--temperature": spec.temperature or None,
        "--slo-ttft": spec.slo_ttft_ms,
        "--slo-itl": spec.slo_itl_ms,
    }
    for flag, value in pairs.items():
        if value is not None and value != "":
            words += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    if not spec.ignore_eos:
        words.append("--until-eos")
    return Equivalent("pdpanel load", shlex.join(words))


def _sglang(spec: LoadSpec, model: str) -> Equivalent:
    backend = {Route.GENERATE: "sglang", Route.CHAT: "sglang-oai-chat", Route.COMPLETIONS: "sglang-oai"}[spec.route]
    words = ["python3", "-m", "sglang.bench_serving", "--backend", backend, *_target(spec, model)]
    words += _load(spec, share_of_range=False)
    if not spec.ignore_eos:
        words.append("--disable-ignore-eos")
    return Equivalent("SGLang bench_serving", shlex.join(words), _remarks(spec))


def _vllm(spec: LoadSpec, model: str) -> Equivalent:
    backend, endpoint = ("openai-chat", Route.CHAT) if spec.route is Route.CHAT else ("openai", Route.COMPLETIONS)
    words = ["vllm", "bench", "serve", "--backend", backend, *_target(spec, model), "--endpoint", endpoint.path]
    words += _load(spec, share_of_range=True)
    if spec.ignore_eos:
        words.append("--ignore-eos")
    words += ["--temperature", f"{spec.temperature:g}", "--percentile-metrics", "ttft,tpot,itl,e2el"]
    words += ["--metric-percentiles", "50,90,99"]
    limits = (("ttft", spec.slo_ttft_ms), ("tpot", spec.slo_itl_ms))
    goals = [f"{name}:{limit:g}" for name, limit in limits if limit is not None]
    if goals:
        words += ["--goodput", *goals]
    remarks = _remarks(spec)
    if spec.route is Route.GENERATE:
        remarks += ("It asks /v1/completions: vLLM's program does not know /generate.",)
    return Equivalent("vllm bench serve", shlex.join(words), remarks)


def _target(spec: LoadSpec, model: str) -> list[str]:
    return ["--base-url", spec.url, "--model", model or "MODEL"]


def _load(spec: LoadSpec, *, share_of_range: bool) -> list[str]:
    if spec.prompts:
        words = ["--dataset-name", "sharegpt", "--dataset-path", spec.prompts]
    else:
        inputs, outputs = parse_lengths("input", spec.input), parse_lengths("output", spec.output)
        ratio = _range_ratio(inputs, share_of_range=share_of_range)
        first = inputs.middle if share_of_range else inputs.high
        last = outputs.middle if share_of_range else outputs.high
        words = ["--dataset-name", "random", "--random-input-len", str(first), "--random-output-len", str(last)]
        words += ["--random-range-ratio", ratio]
    words += ["--num-prompts", str(spec.requests or _count_of(spec)), "--seed", str(spec.seed)]
    words += ["--request-rate", "inf" if spec.rate is None else f"{spec.rate:g}"]
    if spec.concurrency is not None:
        words += ["--max-concurrency", str(spec.concurrency)]
    return words


def _range_ratio(lengths: Lengths, *, share_of_range: bool) -> str:
    """Returns the ratio: SGLang draws from ratio*length to length, vLLM from length*(1-ratio) to length*(1+ratio)."""
    if share_of_range:
        middle = (lengths.low + lengths.high) / 2
        return f"{min(0.99, (lengths.high - lengths.low) / 2 / middle):.3g}"
    return f"{lengths.low / lengths.high:.3g}"


def _count_of(spec: LoadSpec) -> int:
    if spec.rate is not None and spec.duration_s is not None:
        return max(1, round(spec.rate * spec.duration_s))
    return _UNKNOWN_COUNT


def _remarks(spec: LoadSpec) -> tuple[str, ...]:
    remarks = []
    if spec.arrival is Arrival.CONSTANT:
        remarks.append("Its gaps are random (Poisson), not equal.")
    if spec.requests is None:
        remarks.append(f"It ends after a number of requests, here {_count_of(spec)}, not after {spec.duration_s:g} s.")
    if not spec.prompts:
        one, two = parse_lengths("input", spec.input), parse_lengths("output", spec.output)
        if one.deviation or two.deviation:
            remarks.append("Its lengths are evenly spread over the range, not normal.")
        elif one.low * two.high != one.high * two.low:
            remarks.append("It knows one ratio for both ranges of lengths; that of the prompts is given.")
    return tuple(remarks)
