"""What a log says of a run before its result: the client's arguments, a sweep's marker, the last progress bar.

Pure. `log_reader` feeds it lines, the dialects complete a result with it. It holds what the log says and prefers the
more certain source where two say the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from .measures import Measures
from .number import RefusedNumberError, read_count, read_number

__all__ = ["Marker", "Run", "is_run_start", "read_arguments"]

_WANTED = (
    "backend|model|model_id|dataset_name|num_prompts|request_rate|max_concurrency"
    "|random_input_len|random_output_len|input_len|output_len"
)
_NAMESPACE = re.compile(r"\bNamespace\(")
_ARGUMENT = re.compile(rf"\b({_WANTED})=(?:'([^']{{0,500}})'|\"([^\"]{{0,500}})\"|([^,()'\"\s]{{1,60}}))")
_TRAFFIC = re.compile(r"(Traffic request rate|Maximum request concurrency): {0,40}(\S{1,30}) *\Z")
_BAR = re.compile(r"100%\|[^|]{0,400}\| (\d{1,9})/(\d{1,9}) \[", re.ASCII)
_PLANNED = re.compile(r"Total prompts: {0,40}([\d,]{1,15})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Marker:
    """A sweep's line on the point that it measures next.

    Attributes:
        seed: True for the form with `[RUNNING]`.
        prompts: how many requests are sent, where the line says it.
    """

    line: int
    seed: bool
    concurrency: int
    input_length: int
    output_length: int
    prompts: int | None = None
    model: str | None = None
    prefill_workers: int | None = None
    decode_workers: int | None = None


def read_arguments(text: str) -> dict[str, str] | None:
    """Returns the arguments that a client printed at its start (`Namespace(...)`); None for another line."""
    if "Namespace(" not in text or not (start := _NAMESPACE.search(text)):
        return None
    found: dict[str, str] = {}
    for match in _ARGUMENT.finditer(text, start.end()):
        name, *values = match.groups()
        value = next(value for value in values if value is not None)
        if value != "None":
            found.setdefault(name, value)
    return found


def is_run_start(text: str) -> bool:
    """Returns True for the line that both clients print when the measured part begins."""
    return "Starting main benchmark run" in text


def _count(text: str | None) -> int | None:
    try:
        return None if text is None else read_count(text)
    except RefusedNumberError:
        return None


def _rate(text: str | None) -> float | None:
    try:
        return None if text is None else read_number(text)
    except RefusedNumberError:
        return None


@dataclass(slots=True)
class Run:
    """What is known of the run whose result comes next.

    Attributes:
        started: the line on which its measured part began; None before it.
    """

    marker: Marker | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)
    started: int | None = None
    _traffic: dict[str, str] = field(default_factory=dict)
    _planned: int | None = None
    _bar: int | None = None

    def read(self, text: str) -> None:
        """Takes one clean line from outside a result."""
        if "%|" in text:
            # Each request moves the client's bar, also one that failed; it is the last one before the result.
            if (bar := _BAR.search(text)) and bar.group(1) == bar.group(2):
                self._bar = int(bar.group(2))
        elif match := _TRAFFIC.match(text):
            self._traffic[match.group(1)] = match.group(2)
        elif match := _PLANNED.fullmatch(text):
            self._planned = _count(match.group(1))

    @property
    def begun_at(self) -> int | None:
        """The line on which it was announced; None when nothing announced it."""
        return self.marker.line if self.marker else self.started

    @property
    def concurrency(self) -> int | None:
        """The most requests at once."""
        if self.marker:
            return self.marker.concurrency
        printed = _count(self._traffic.get("Maximum request concurrency"))
        return printed if printed is not None else _count(self.arguments.get("max_concurrency"))

    @property
    def model(self) -> str | None:
        """The model's name or path."""
        return self.arguments.get("model") or self.arguments.get("model_id")

    @property
    def backend(self) -> str | None:
        """The kind of server that the client was told of."""
        return self.arguments.get("backend")

    def fill(self, measures: Measures) -> None:
        """Adds what the log says around a result to what the result itself says."""
        rate = _rate(self._traffic.get("Traffic request rate"))
        known = {
            "concurrency": self.concurrency,
            "request_rate": rate if rate is not None else _rate(self.arguments.get("request_rate")),
        }
        if self.marker:
            known |= {"input_length": self.marker.input_length, "output_length": self.marker.output_length}
        elif self._random:
            for side in ("input", "output"):
                asked = self.arguments.get(f"{side}_len") or self.arguments.get(f"random_{side}_len")
                known[f"{side}_length"] = _count(asked)
        for column, number in known.items():
            if number is not None:
                measures.setdefault(column, number)

    def requests_sent(self, successful: int | None) -> int | None:
        """Returns how many requests were sent by the most certain source that fits the number of successful ones."""
        asked = self.arguments.get("num_prompts") if self._random else None  # Other data sets may have fewer.
        said = self.marker.prompts if self.marker else None
        for count in (said, self._planned, _count(asked), self._bar):
            if count is not None and count >= (successful or 0):
                return count
        return None

    @property
    def _random(self) -> bool:
        return self.arguments.get("dataset_name", "").startswith("random")
