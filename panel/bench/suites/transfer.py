"""The `transfer` suite: how fast KV goes from one process into another's memory, by each transport of the engine.

A prompt's pages are written chunk by chunk through the engine's own endpoints and links, and by the same blocks through
Mooncake alone, a plain socket, and memcpy within one process. All of them take turns in each round. The copies between
compute slots and staging pages, which a worker makes before and after, are measured beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ....engine.errors import PeerError
from ..comparison import Comparison, Goal, interleave
from ..suite import SuiteOptions
from .transfer_carriers import EXPORT, IMPORT, MEMCPY, PLAIN_SOCKET, RAW_MOONCAKE
from .transfer_pair import Pair, Sample
from .transfer_prompt import LAYOUTS, Prompt

if TYPE_CHECKING:
    from ...runs import Runs

__all__ = ["TRANSPORTS", "measure"]

TRANSPORTS = ("mooncake_tcp", "shm", "tcp", "nixl")
_ELEMENTS = {"bfloat16": 2, "float32": 4}
_GOALS = {("mooncake_tcp", RAW_MOONCAKE): Goal(at_least=0.9), ("shm", MEMCPY): Goal(at_least=0.7)}
_WINDOW_S, _SHORT_WINDOW_S = 0.25, 0.02
_TOKENS, _CHUNK = 2048, 512
_SHORT_TOKENS, _SHORT_CHUNK = 256, 128
_INSTALL = {
    "mooncake_tcp": 'pip install "pdpanel[mooncake-cpu]"',
    RAW_MOONCAKE: 'pip install "pdpanel[mooncake-cpu]"',
    "nixl": 'pip install "pdpanel[nixl]"',
}

_Samples = Mapping[str, list[Sample]]


def measure(options: SuiteOptions, runs: Runs, tell: Callable[[str], None]) -> Iterator[Comparison]:
    """Yields the figures of each layout and element type as they are done.

    Args:
        options: the model is not asked for: the pages are always those of the default model.
        runs: not used; nothing is deployed.

    Raises:
        PeerError: a transport broke, or brought other bytes than were sent.
    """
    for dtype, element in _ELEMENTS.items():
        wanted = [t for t in TRANSPORTS if any(options.wants(_case(t, layout, dtype)) for layout in LAYOUTS)]
        copies = [n for n in (EXPORT, IMPORT) if any(options.wants(_copy(n, layout, dtype)) for layout in LAYOUTS)]
        if not (wanted or copies) or (options.short and dtype != "bfloat16"):
            continue
        tokens, chunk = (_SHORT_TOKENS, _SHORT_CHUNK) if options.short else (_TOKENS, _CHUNK)
        with ExitStack() as stack:
            pairs: dict[str, Pair] = {}
            for name in _needed(wanted, copies):
                if (pair := _open(name, Prompt(tokens, chunk, element, "contiguous").size, element, tell)) is not None:
                    stack.callback(pair.close)
                    pairs[name] = pair
            for layout in LAYOUTS:
                tell(f"{dtype}, {layout} pages")
                samples = _take(pairs, Prompt(tokens, chunk, element, layout), options)
                found = [
                    *(f for t in wanted if t in samples for f in _figures(_case(t, layout, dtype), t, samples)),
                    *(_staging(_copy(name, layout, dtype), name, samples) for name in copies),
                ]
                yield from (figure for figure in found if options.wants(figure.case))


def _needed(wanted: Sequence[str], copies: Sequence[str]) -> Iterator[str]:
    yield from wanted
    if "mooncake_tcp" in wanted:
        yield RAW_MOONCAKE
    if wanted:
        yield PLAIN_SOCKET
    yield from (MEMCPY, *((EXPORT, IMPORT) if wanted else copies))


def _case(transport: str, layout: str, dtype: str) -> str:
    return f"transport={transport},layout={layout},kv={dtype}"


def _copy(name: str, layout: str, dtype: str) -> str:
    return f"copy={name},layout={layout},kv={dtype}"


def _open(name: str, size: int, element: int, tell: Callable[[str], None]) -> Pair | None:
    try:
        return Pair(name, size, element)
    except PeerError as error:
        if name not in _INSTALL:
            raise
        tell(f"without {name}: {error} To compare with it: {_INSTALL[name]}")
        return None


def _take(pairs: Mapping[str, Pair], prompt: Prompt, options: SuiteOptions) -> _Samples:
    """Returns each carrier's samples, one for each round."""
    writes = prompt.writes()
    samples: dict[str, list[Sample]] = {name: [] for name in pairs}

    def sample(pair: Pair) -> float:
        samples[pair.name].append(pair.carry(writes, _SHORT_WINDOW_S if options.short else _WINDOW_S))
        return samples[pair.name][-1].gb_s

    for pair in pairs.values():
        pair.prove(writes)
    interleave({name: lambda pair=pair: sample(pair) for name, pair in pairs.items()}, options.rounds)
    return samples


def _figures(case: str, transport: str, samples: _Samples) -> Iterator[Comparison]:
    own = samples[transport]
    for peer in (RAW_MOONCAKE, PLAIN_SOCKET, MEMCPY):
        if peer in samples and (peer != RAW_MOONCAKE or transport == "mooncake_tcp"):
            goal = _GOALS.get((transport, peer))
            values, peers = [s.gb_s for s in own], [s.gb_s for s in samples[peer]]
            yield Comparison(case, "goodput", "GB/s", values, peer, peers, goal)
    peer = RAW_MOONCAKE if transport == "mooncake_tcp" and RAW_MOONCAKE in samples else PLAIN_SOCKET
    values, peers = [s.cpu_s_gb for s in own], [s.cpu_s_gb for s in samples[peer]]
    yield Comparison(case, "cpu", "s/GB", values, peer, peers, note="processor time of both ends")
    rounds = list(zip(samples[EXPORT], own, samples[IMPORT], strict=True))
    shares = [1 - 1 / wire.gb_s / sum(1 / part.gb_s for part in (out, wire, into)) for out, wire, into in rounds]
    yield Comparison(case, "staging_share", "of 1", shares, note="of export, wire and import one after the other")
    last = [out.last_ms + wire.last_ms + into.last_ms for out, wire, into in rounds]
    note = "export, wire and import of the last chunk: what is left when the prompt is computed"
    yield Comparison(case, "last_chunk", "ms", last, note=note)


def _staging(case: str, name: str, samples: _Samples) -> Comparison:
    values, peers = [s.gb_s for s in samples[name]], [s.gb_s for s in samples[MEMCPY]]
    return Comparison(case, "staging_copy", "GB/s", values, MEMCPY, peers)
