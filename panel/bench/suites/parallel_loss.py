"""What the death of an expert rank, and of an encoder, costs clients: seconds without answers, and lost requests."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from ..comparison import Comparison, Goal
from ..pictures import noise_url
from ..suite import SuiteOptions
from .parallel_load import Loss, load_while
from .parallel_workers import workers

__all__ = ["CASES", "loss_figures"]

_GAP, _LOST = Goal(at_most=5.0), Goal(at_most=0.0)
_SECONDS, _SHORT_SECONDS = 12.0, 3.0
_CLIENTS = 4
_TOKENS = range(16, 272)
_EXACT = ("--dtype", "float32", "--kv-cache-dtype", "float32", "--max-total-tokens", "4096")

Tell = Callable[[str], None]


def loss_figures(options: SuiteOptions, tell: Tell) -> Iterator[Comparison]:
    """Yields what each death costs; a round starts everything anew.

    Raises:
        PeerError: a worker does not come up.
    """
    for case, measure in CASES.items():
        if not options.wants(case) or (options.short and case in _LONG):
            continue
        found: list[Loss] = []
        for number in range(options.rounds):
            tell(f"{case}: round {number + 1}")
            found.append(measure(options, number))
            for problem in found[-1].lost[:3]:
                tell(f"{case}: lost: {problem}")
        note = f"{sum(loss.answered for loss in found)} requests answered by {_CLIENTS} clients, killed under load"
        yield Comparison(case, "without_answers", "s", [loss.gap_s for loss in found], goal=_GAP, note=note)
        yield Comparison(case, "requests_lost", "", [len(loss.lost) for loss in found], goal=_LOST, note=note)


def _seconds(options: SuiteOptions) -> float:
    return _SHORT_SECONDS if options.short else _SECONDS


def _expert(options: SuiteOptions, number: int, *, backend: str) -> Loss:
    """A rank of two, with half of the experts."""
    flags = ["--model-path", "random:mixtral-8e", *_EXACT, "--tp-size", "2", "--ep-size", "2"]
    flags += ["--moe-a2a-backend", backend, "--elastic-ep-backend", backend]
    with workers() as started:
        worker = started.worker("unified", flags)
        started.wait_ready()
        router = started.router("router", ["--worker-urls", worker.url])
        (victim,) = [rank["pid"] for rank in worker.get("/server_info")["ranks"] if rank["rank"] == 1]
        body = partial(_text, random.Random(f"{options.seed} {number}"))
        kill = partial(os.kill, victim, signal.SIGKILL)
        return asyncio.run(load_while(router.url, "/generate", body, _CLIENTS, _seconds(options), kill))


def _half(options: SuiteOptions, number: int, *, half: str) -> Loss:
    """A rank of two, with half of the experts, of prefill or of decode."""
    flags = ["--model-path", "random:mixtral-8e", *_EXACT, "--tp-size", "2", "--ep-size", "2"]
    flags += ["--moe-a2a-backend", "gloo", "--disaggregation-transfer-backend", "tcp", "--elastic-ep-backend", "gloo"]
    with workers() as started:
        prefill = started.worker("prefill", [*flags, "--disaggregation-mode", "prefill"], has_bootstrap=True)
        decode = started.worker("decode", [*flags, "--disaggregation-mode", "decode"])
        started.wait_ready()
        pair = ["--prefill", prefill.url, str(prefill.bootstrap), "--decode", decode.url]
        router = started.router("router", ["--pd-disaggregation", *pair])
        worker = {"prefill": prefill, "decode": decode}[half]
        (victim,) = [rank["pid"] for rank in worker.get("/server_info")["ranks"] if rank["rank"] == 1]
        body = partial(_text, random.Random(f"{options.seed} {number}"))
        kill = partial(os.kill, victim, signal.SIGKILL)
        return asyncio.run(load_while(router.url, "/generate", body, _CLIENTS, _seconds(options), kill))


def _text(choice: random.Random, number: int) -> Mapping[str, Any]:
    sampling = {"temperature": 0, "max_new_tokens": 64, "ignore_eos": True}
    return {"input_ids": choice.choices(_TOKENS, k=100), "sampling_params": sampling}


def _encoder(options: SuiteOptions, number: int, *, backend: str) -> Loss:
    """One of two encoders of a language worker."""
    common = ["--model-path", "random:llava", *_EXACT, "--encoder-transfer-backend", backend]
    with workers() as started:
        encoders = [started.worker(f"encoder-{place}", [*common, "--encoder-only"]) for place in range(2)]
        urls = [encoder.url for encoder in encoders]
        worker = started.worker("language", [*common, "--language-only", "--encoder-urls", *urls])
        started.wait_ready()
        router = started.router("router", ["--worker-urls", worker.url])
        body = partial(_picture, random.Random(f"{options.seed} {number}"))
        kill = encoders[0].process.kill
        return asyncio.run(load_while(router.url, "/v1/chat/completions", body, _CLIENTS, _seconds(options), kill))


def _picture(choice: random.Random, number: int) -> Mapping[str, Any]:
    """A request with an image that nobody has seen."""
    image = {"type": "image_url", "image_url": {"url": noise_url(choice)}}
    content = [image, {"type": "text", "text": f"What is this, number {number}?"}]
    body = {"model": "default", "messages": [{"role": "user", "content": content}]}
    return {**body, "max_tokens": 8, "temperature": 0, "ignore_eos": True}


CASES: Mapping[str, Callable[[SuiteOptions, int], Loss]] = {
    "dead=expert,a2a=gloo": partial(_expert, backend="gloo"),
    "dead=expert,a2a=mooncake": partial(_expert, backend="mooncake"),
    "dead=expert,half=prefill": partial(_half, half="prefill"),
    "dead=expert,half=decode": partial(_half, half="decode"),
    "dead=encoder,by=zmq_to_scheduler": partial(_encoder, backend="zmq_to_scheduler"),
    "dead=encoder,by=mooncake": partial(_encoder, backend="mooncake"),
}
"""What dies, by what carries bytes to it."""

_LONG = frozenset(
    {
        "dead=expert,a2a=mooncake",
        "dead=expert,half=prefill",
        "dead=expert,half=decode",
        "dead=encoder,by=mooncake",
    }
)
