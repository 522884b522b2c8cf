"""The `parallel` suite: what ranks, expert exchanges and encoders cost beside what lies beneath them.

Unequal halves against equal ones in writes, the expert all-to-all and embedding transfers against the transport alone,
each for the same bytes and in turns; and what clients lose when an expert rank or an encoder is killed under load.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..comparison import Comparison
from ..suite import SuiteOptions
from .parallel_bytes import byte_figures
from .parallel_kv import kv_figures
from .parallel_loss import loss_figures

if TYPE_CHECKING:
    from ...runs import Runs

__all__ = ["measure"]


def measure(options: SuiteOptions, runs: Runs, tell: Callable[[str], None]) -> Iterator[Comparison]:
    """Yields the figures as they are done.

    Args:
        options: the model is not asked for: each topology has a small one of random weights.
        runs: not used; workers are started directly.

    Raises:
        PdpanelError: something that is measured does not come up, or brought other bytes than were sent.
    """
    yield from kv_figures(options, tell)
    yield from byte_figures(options, tell)
    yield from loss_figures(options, tell)
