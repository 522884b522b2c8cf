"""The suites of `pdpanel bench` that compare: their names, and what all of them are asked. Imports none of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .comparison import Comparison

if TYPE_CHECKING:
    from ..runs import Runs

__all__ = ["SUITES", "SuiteOptions", "measure"]

SUITES = {
    "engine": "Prefill and decode of the bundled engine against transformers and llama.cpp, and what quantising costs.",
    "pd": "One prefill and one decode worker against two unified workers on the same cores.",
    "transfer": "KV goodput of each transport against raw Mooncake, a plain socket and memcpy.",
    "router": "The bundled router against sglang-router and smg.",
    "start": "The time from `up` to the first token, broken down.",
    "scale": "What batch, context, workers and clients cost.",
    "parallel": "Unequal halves, expert exchanges and embeddings against what lies beneath them; and what deaths cost.",
}
"""What each suite compares; its module in `suites` has the same name and a function `measure`."""


@dataclass(frozen=True, slots=True)
class SuiteOptions:
    """What a suite is asked.

    Attributes:
        short: one small case of each kind, in well below a minute: whether the harness works, not how fast we are.
        rounds: of each comparison.
        only: names of cases, as `Comparison.case` begins; none means all.
        model: what is served; a catalogue name, a folder or a Hub id.
    """

    short: bool = False
    rounds: int = 3
    seed: int = 0
    only: tuple[str, ...] = ()
    model: str = "smollm2-135m-instruct"

    def wants(self, case: str) -> bool:
        """Returns whether a case is to be measured."""
        return not self.only or case.startswith(self.only)


Measure = Callable[[SuiteOptions, "Runs", Callable[[str], None]], Iterator[Comparison]]


def measure(name: str, options: SuiteOptions, runs: Runs, tell: Callable[[str], None]) -> Iterator[Comparison]:
    """Yields the figures of a suite as they are done; what it started is stopped, also on Ctrl-C.

    Args:
        name: one of SUITES.
        tell: takes a line of progress.

    Raises:
        PdpanelError: something that is measured does not come up.
    """
    module = importlib.import_module(f".suites.{name}", __package__)
    found: Measure = module.measure
    return found(options, runs, tell)
