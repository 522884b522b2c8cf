"""Which engine a page of metrics comes from, by the page alone, and what it says.

Pure; the one entry for whoever has the bytes of a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .bundled import BundledRouter, BundledWorker
from .mooncake_master import MooncakeMaster
from .prometheus import Page, PageReader
from .sglang import Sglang
from .smg import Smg
from .vllm import Vllm
from .vocabulary import KnownHistogram, Measurement, Vocabulary, measure

__all__ = ["VOCABULARIES", "MetricsReader", "Reading"]

VOCABULARIES: Final[Sequence[Vocabulary]] = (
    BundledRouter(),
    BundledWorker(),
    Sglang(),
    Vllm(),
    Smg(),
    MooncakeMaster(),
)
"""The vocabularies; the first one whose words are on a page counts, so those with more of them come first."""

_WANTED: Final = frozenset(name for one in VOCABULARIES for term in one.terms for name in term.names)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a page says.

    Attributes:
        engine: whose page it is; empty when nobody knows it.
        problem: why nothing can be read from it, in a few words; empty when something can.
    """

    engine: str
    measurement: Measurement
    problem: str = ""


class MetricsReader:
    """Reads the pages of one process again and again."""

    def __init__(self) -> None:
        self._pages = PageReader(_WANTED)
        self._known: dict[str, KnownHistogram] = {}
        self._last = (b"", self._read(b""))

    def read(self, text: bytes) -> Reading:
        """Returns what the bytes of a page say; never raises."""
        # An idle program says the same again and again.
        if text != self._last[0]:
            self._last = (text, self._read(text))
        return self._last[1]

    def _read(self, text: bytes) -> Reading:
        nothing = Measurement({}, {}, {})
        page = self._pages.read(text)
        if not page.is_metrics:
            start = text[:200].lstrip().lower()
            html = start.startswith((b"<!doctype", b"<html", b"<?xml"))
            return Reading("", nothing, "is HTML" if html else "holds no metrics" if start else "is empty")
        for vocabulary in VOCABULARIES:
            if _speaks(page, vocabulary):
                return Reading(vocabulary.name, measure(page, vocabulary, self._known))
        words = ", ".join(sorted(word for word in page.prefixes if "_" not in word)[:3])
        return Reading("", nothing, f"holds metrics of no known engine ({words})")


def _speaks(page: Page, vocabulary: Vocabulary) -> bool:
    return not vocabulary.families.isdisjoint(page.prefixes)
