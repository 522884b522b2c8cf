"""The requests of a load in order: when each is sent, how long its prompt and its answer are.

Pure: the same spec gives the same requests, and times and lengths have random numbers of their own, so that a load at
another rate asks the same questions. Called by `driver`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from random import Random

from .lengths import parse_lengths
from .spec import Arrival, LoadSpec

__all__ = ["Planned", "arrival_times", "planned_requests"]


@dataclass(frozen=True, slots=True)
class Planned:
    """One request.

    Attributes:
        number: from 0.
        at_s: when it is sent, from the load's begin; 0 where nothing but the concurrency decides.
        input_length: tokens of its prompt, output_length of its answer.
    """

    number: int
    at_s: float
    input_length: int
    output_length: int


def arrival_times(spec: LoadSpec) -> Iterator[float]:
    """Yields when each request is sent, in s from the begin, without an end."""
    random = Random(f"{spec.seed}/arrivals")
    now = 0.0
    while True:
        yield now
        if spec.arrival is Arrival.POISSON:
            assert spec.rate
            now += random.expovariate(spec.rate)
        elif spec.arrival is Arrival.CONSTANT:
            assert spec.rate
            now += 1 / spec.rate


def planned_requests(spec: LoadSpec) -> Iterator[Planned]:
    """Yields the requests up to the wanted number and time."""
    random = Random(f"{spec.seed}/lengths")
    inputs, outputs = parse_lengths("input", spec.input), parse_lengths("output", spec.output)
    for number, at_s in zip(count(), arrival_times(spec), strict=False):
        if spec.requests is not None and number >= spec.requests:
            return
        if spec.duration_s is not None and at_s >= spec.duration_s:
            return
        yield Planned(number, at_s, inputs.draw(random), outputs.draw(random))
