"""How the metrics of an engine become quantities: the terms that the vocabularies beside this file are made of.

A quantity has one name in all engines (`running`, `ttft`, ...); a term says under which names an engine has it, the
newest first, and how the samples of several ranks become one number. Pure; knows no engine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

from .histogram import Histogram, merged
from .prometheus import Page, Sample

__all__ = ["Fold", "Kind", "KnownHistogram", "Measurement", "Term", "Vocabulary", "measure"]


class Kind(Enum):
    """What a term's value is: as it stands, a rate of change, a histogram, or the rate of a histogram's sum."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    SUM = "sum"


class Fold(Enum):
    """How several samples become one.

    All added; one of each instance's ranks added; the largest; or shares: ranks that each have a part of the same
    events, so that events are those of one rank and amounts those of all.
    """

    ALL = "all"
    INSTANCES = "instances"
    LARGEST = "largest"
    SHARES = "shares"


@dataclass(frozen=True, slots=True)
class Term:
    """One quantity of an engine.

    Attributes:
        names: families by `family_name`, the first one on the page counts.
        scale: what a value is multiplied by to get the quantity's unit: seconds, bytes, tokens, requests, percent.
        where: labels that a sample must have, each with the values that it may have.
        by: the label that splits the quantity; empty for none.
        unless: labels with the values that a sample must not have.
    """

    quantity: str
    kind: Kind
    names: tuple[str, ...]
    fold: Fold = Fold.INSTANCES
    scale: float = 1.0
    where: Mapping[str, frozenset[str]] = field(default_factory=dict)
    by: str = ""
    unless: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a page says; keys are (quantity, value of the label that splits it, or "").

    Attributes:
        counters: totals since the start of the program.
    """

    gauges: Mapping[tuple[str, str], float]
    counters: Mapping[tuple[str, str], float]
    histograms: Mapping[str, Histogram]


class Vocabulary(Protocol):
    """The metrics of one engine.

    Attributes:
        name: the engine, for people.
        families: words that the names of its families begin with; a page with one of them speaks this vocabulary.
        terms: its quantities.
        zero: counters that are 0 on a page which does not have them yet.
    """

    @property
    def name(self) -> str:
        """Whose metrics these are, for people."""
        ...

    @property
    def families(self) -> frozenset[str]:
        """Words that its families begin with."""
        ...

    @property
    def terms(self) -> Sequence[Term]:
        """Its quantities."""
        ...

    @property
    def zero(self) -> frozenset[str]:
        """Counters that are 0 before their first event."""
        ...


KnownHistogram = tuple[Sequence[Sample], Histogram | None]
"""The lines of a histogram and what they come to."""


def measure(page: Page, vocabulary: Vocabulary, known: dict[str, KnownHistogram]) -> Measurement:
    """Returns the quantities of `page`; one that the page does not have is left out.

    Args:
        page: of one process.
        vocabulary: its engine's.
        known: histograms by quantity from the page before, whose lines may be the same; brought up to date.
    """
    gauges: dict[tuple[str, str], float] = {}
    counters: dict[tuple[str, str], float] = {}
    histograms: dict[str, Histogram] = {}
    for term in vocabulary.terms:
        samples = next((page.families[name] for name in term.names if page.families.get(name)), ())
        chosen = [one for one in samples if _fits(one, term)] if term.where or term.unless else samples
        if not chosen:
            if term.quantity in vocabulary.zero and term.kind in (Kind.COUNTER, Kind.SUM):
                counters[term.quantity, ""] = 0.0
            continue
        if term.kind is Kind.HISTOGRAM:
            before = known.get(term.quantity)
            if before is None or before[0] is not samples:
                histogram = _histogram(chosen, term.fold)
                before = known[term.quantity] = (samples, histogram and histogram.scaled(term.scale))
            if before[1] is not None:
                histograms[term.quantity] = before[1]
            continue
        part = "sum" if term.kind is Kind.SUM else ""
        target = gauges if term.kind is Kind.GAUGE else counters
        for split, group in _split([one for one in chosen if one.part == part], term.by).items():
            value = _folded(group, term.fold) * term.scale
            if math.isfinite(value) and value >= 0:
                target.setdefault((term.quantity, split), value)
    return Measurement(gauges, counters, histograms)


def _fits(sample: Sample, term: Term) -> bool:
    labels = sample.labels.values
    wanted = all(labels.get(label, "") in values for label, values in term.where.items())
    return wanted and not any(labels.get(label, "") in values for label, values in term.unless.items())


def _split(samples: Iterable[Sample], by: str) -> dict[str, list[Sample]]:
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.labels.values.get(by, "") if by else "", []).append(sample)
    return groups


def _folded(samples: Sequence[Sample], fold: Fold) -> float:
    if len(samples) == 1:
        return samples[0].value
    if fold is Fold.LARGEST:
        return max(sample.value for sample in samples)
    if fold in (Fold.ALL, Fold.SHARES):
        return sum(sample.value for sample in samples)
    return sum(max(sample.value for sample in group) for group in _instances(samples))


def _instances(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Returns the samples of each instance; those by priority only where there is no sum of them."""
    if any("priority" in sample.labels.values for sample in samples):
        whole = [sample for sample in samples if not sample.labels.values.get("priority")]
        samples = whole or samples
    groups: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.labels.instance, []).append(sample)
    return list(groups.values())


class _Series:
    """The lines of one series of a histogram."""

    def __init__(self, instance: tuple[tuple[str, str], ...]) -> None:
        self.instance = instance
        self.buckets: dict[float, float] = {}
        self.total = 0.0

    def histogram(self) -> Histogram | None:
        buckets = sorted(self.buckets.items())
        if not buckets or not math.isinf(buckets[-1][0]):
            return None
        return Histogram(tuple(bound for bound, _ in buckets), tuple(count for _, count in buckets), self.total)


def _histogram(samples: Sequence[Sample], fold: Fold) -> Histogram | None:
    """Returns the histogram of all series, or of one rank of each instance."""
    series: dict[tuple[tuple[str, str], ...], _Series] = {}
    for part, labels, value in samples:
        one = series.get(labels.series)
        if one is None:
            one = series[labels.series] = _Series(labels.instance)
        if part == "bucket" and labels.bound is not None:
            one.buckets[labels.bound] = value
        elif part == "sum":
            one.total = value
    chosen = list(series.values())
    if fold in (Fold.INSTANCES, Fold.SHARES):
        leading: dict[tuple[tuple[str, str], ...], _Series] = {}
        for key in sorted(series):
            leading.setdefault(series[key].instance, series[key])
        chosen = list(leading.values())
    whole = merged(one for lines in chosen if (one := lines.histogram()) is not None)
    if whole is None or fold is not Fold.SHARES:
        return whole
    return replace(whole, total=sum(one.total for one in series.values()))
