"""Versions compare in the order of their releases."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.flags.version import version_of

IN_ORDER = (
    "0.4.5 0.4.5.post1 0.4.5.post3 0.4.10 0.5.1.post3 0.5.2rc0 0.5.2rc1 0.5.2 0.5.9 0.5.10 0.5.10.post1 1.0 1.0.1"
)


def test_releases_are_in_order() -> None:
    read = [version_of(text) for text in IN_ORDER.split()]
    assert read == sorted(read)
    assert len(set(read)) == len(read)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", ()),
        ("latest", ()),
        ("0.5.23", (0, 5, 23)),
        ("0.33", (0, 33, 0)),
        ("v0.4.5.post1", (0, 4, 5, 1)),
        ("v0.5.15.post1-rocm720-mi30x-20260818", (0, 5, 15, 1)),
        ("0.5.9-cu129", (0, 5, 9)),
        ("0.5.2+local", (0, 5, 2)),
    ],
)
def test_what_is_read(text: str, numbers: tuple[int, ...]) -> None:
    assert version_of(text) == numbers


@given(st.lists(st.integers(0, 10**6), min_size=3, max_size=3), st.integers(0, 99))
def test_a_candidate_is_older_and_a_post_release_newer_than_their_release(parts: list[int], number: int) -> None:
    text = ".".join(map(str, parts))
    next_text = ".".join(map(str, [*parts[:2], parts[2] + 1]))
    post = version_of(f"{text}.post{number}")
    assert version_of(f"{text}rc{number}") < version_of(text) < post or (number == 0 and version_of(text) < post)
    assert post < version_of(f"{next_text}rc0") < version_of(next_text)


@given(st.text(max_size=60))
def test_any_text_is_read(text: str) -> None:
    assert all(isinstance(part, int) for part in version_of(text))
