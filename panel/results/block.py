"""The result block that SGLang's and vLLM's serving benchmarks print: a heading, labelled numbers, a closing line.

Pure. Both clients grew from one script, so the frame is the same and the labels differ; `sglang_serving` and
`vllm_serve` know theirs. Log lines in between and the prefixes of docker compose, srun and kubectl are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["ServingBlock", "begins_block", "ends_block"]

_HEADING = re.compile(r"={4,} {0,4}Serving Benchmark Result {0,4}={4,}")
# What stands before a line of another program's log: `bench-1  | `, `3: `, `[pod/bench] `, a time.
_PREFIX = (
    r"(?:(?:\[[^\]\n]{1,80}\]:?|[^\s|]{1,80} {0,40}\||\d{1,4}:|\d{4}-\d\d-\d\dT[\d:.,+Z-]{8,30})[ \t]+){0,2}[ \t]*"
)
_ENDING = re.compile(_PREFIX + r"={40,}[ \t]*")
_LABELLED = re.compile(_PREFIX + r"([A-Z][A-Za-z0-9 ./()\-]{2,60}):[ \t]+(\S.{0,200})")


def begins_block(text: str) -> bool:
    """Returns True for the heading, whatever stands before it on its line."""
    return "Serving Benchmark Result" in text and _HEADING.search(text) is not None


def ends_block(text: str) -> bool:
    """Returns True for the closing line."""
    return "====" in text and _ENDING.fullmatch(text) is not None


@dataclass(slots=True)
class ServingBlock:
    """One block while it is read.

    Attributes:
        line: where its heading stands.
    """

    line: int
    _texts: dict[str, tuple[int, str]] = field(default_factory=dict)

    def read(self, line: int, text: str) -> None:
        """Takes one clean line between heading and end."""
        if ":" in text and (match := _LABELLED.match(text)):
            self._texts.setdefault(match.group(1).lower(), (line, match.group(2).strip()))

    def __contains__(self, label: str) -> bool:
        return label in self._texts

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yields label in lower case and text, in the order of the log."""
        for label, (_, text) in self._texts.items():
            yield label, text

    def text(self, label: str) -> str | None:
        """Returns the text of a label."""
        return self._texts[label][1] if label in self._texts else None

    def line_of(self, label: str) -> int:
        """Returns the line on which a label stands."""
        return self._texts[label][0]
