"""Goodput of the expert all-to-all and of embedding transfers beside the transport alone, for the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from ..comparison import Comparison, Goal, interleave
from ..suite import SuiteOptions
from .parallel_ends import Ends, UnavailableError

__all__ = ["PEERS", "byte_figures"]

_MOONCAKE = ("raw mooncake", "mooncake's link")
PEERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "exchange": {"gloo": ("raw gloo",), "mooncake": _MOONCAKE},
    "embeddings": {"zmq_to_scheduler": ("raw zmq",), "mooncake": _MOONCAKE},
}
"""Kind of bytes -> what carries them in the engine -> what that is held against."""

_GOAL = Goal(at_least=0.8)
_MIB = 1 << 20
_IMAGE = 576 * 2048 * 4
# Of an exchange, what each of two ranks has for the other: 512 rows of 2,048 in float32, and eight times as many.
_SIZES: Mapping[str, tuple[int, ...]] = {"exchange": (4 * _MIB, 32 * _MIB), "embeddings": (_IMAGE, 8 * _IMAGE)}
_WINDOW_S, _SHORT_WINDOW_S = 0.5, 0.02
_NOTES = {
    "exchange": "both directions together; what each rank has stands in its outboxes",
    "embeddings": "from the encoder's arrays to arrays of the worker's own, with a word back and forth",
}


def byte_figures(options: SuiteOptions, tell: Callable[[str], None]) -> Iterator[Comparison]:
    """Yields the goodput of each way; one whose transport is not here is left out, and told.

    Raises:
        PeerError: a way broke, or brought other bytes than were sent.
    """
    for kind, ways in PEERS.items():
        for way, peers in ways.items():
            for size in _SIZES[kind][:1] if options.short else _SIZES[kind]:
                case = f"{kind},by={way},bytes={size / _MIB:.3g}MiB"
                if not options.wants(case):
                    continue
                tell(case)
                yield from _figures(kind, way, peers, size, case, options, tell)


def _figures(
    kind: str, way: str, peers: Sequence[str], size: int, case: str, options: SuiteOptions, tell: Callable[[str], None]
) -> Iterator[Comparison]:
    with ExitStack() as stack:
        ends: dict[str, Ends] = {}
        for name in (way, *peers[: 1 if options.short else None]):
            try:
                ends[name] = Ends(kind, name, size)
            except UnavailableError as error:
                tell(f'without {case}: {error} To measure it: pip install "pdpanel[mooncake-cpu]"')
                return
            stack.callback(ends[name].close)
        window = _SHORT_WINDOW_S if options.short else _WINDOW_S
        found = interleave({name: partial(one.goodput, window) for name, one in ends.items()}, options.rounds)
    for peer in [name for name in ends if name != way]:
        yield Comparison(case, "goodput", "GB/s", found[way], peer, found[peer], _GOAL, _NOTES[kind])
