"""The cheap histograms read like those of prometheus_client."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.router.distribution import Distribution, Distributions
from prometheus_client import CollectorRegistry, Histogram, generate_latest

BOUNDS = (0.001, 0.5, 1.0, 20.0)
VALUES = st.lists(st.one_of(st.sampled_from(BOUNDS), st.floats(0, 100)), max_size=20)


def lines(registry: CollectorRegistry) -> list[bytes]:
    """The text without the times of creation."""
    return [line for line in generate_latest(registry).splitlines() if b"_created" not in line]


@given(VALUES, VALUES)
def test_the_text_is_that_of_prometheus_client(first: list[float], second: list[float]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    parts = {"a": Distribution(BOUNDS), "b": Distribution(BOUNDS)}
    ours.register(Distributions("x_seconds", "Text.", parts, label="stage"))
    known = Histogram("x_seconds", "Text.", ("stage",), buckets=BOUNDS, registry=theirs)
    for stage, values in (("a", first), ("b", second)):
        child = known.labels(stage)
        for value in values:
            parts[stage].observe(value)
            child.observe(value)
    assert lines(ours) == lines(theirs)


def test_one_alone_has_no_label() -> None:
    registry, part = CollectorRegistry(), Distribution((1.0,))
    registry.register(Distributions("y_seconds", "Text.", {"": part}))
    part.observe(2.0)
    assert b'y_seconds_bucket{le="1.0"} 0.0\ny_seconds_bucket{le="+Inf"} 1.0\n' in generate_latest(registry)
