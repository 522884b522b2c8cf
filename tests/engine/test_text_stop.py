from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.text.stop import StopMatcher

LETTERS = st.text("abc", max_size=40)
STOPS = st.lists(st.text("abc", min_size=1, max_size=5), max_size=4).map(tuple)


def search(text: str, stops: tuple[str, ...], trim: bool) -> tuple[str, str | None]:
    """The definition: grow the text letter by letter until it ends with a stop string; take the longest."""
    for end in range(len(text) + 1):
        matches = sorted((stop for stop in stops if text[:end].endswith(stop)), key=len)
        if matches:
            return text[: end - len(matches[-1]) if trim else end], matches[-1]
    return text, None


def feed(pieces: list[str], stops: tuple[str, ...], trim: bool) -> tuple[str, str | None]:
    matcher = StopMatcher(stops, trim)
    shown, matched = "", None
    for piece in pieces:
        safe, found = matcher.push(piece)
        shown += safe
        assert found is None or matched is None
        matched = found or matched
    assert matcher.matched == matched
    return shown + matcher.flush(), matched


@given(st.lists(LETTERS), STOPS, st.booleans())
def test_any_split_gives_what_the_whole_text_gives(pieces: list[str], stops: tuple[str, ...], trim: bool) -> None:
    assert feed(pieces, stops, trim) == search("".join(pieces), stops, trim)


@given(LETTERS, STOPS)
def test_only_what_may_begin_a_stop_string_is_held(text: str, stops: tuple[str, ...]) -> None:
    matcher = StopMatcher(stops)
    safe, matched = matcher.push(text)
    held = matcher.flush()
    if matched is None:
        assert safe + held == text
        assert held == "" or any(stop.startswith(held) and stop != held for stop in stops)
        longer = [text[at:] for at in range(len(safe))]
        assert not any(stop.startswith(end) for stop in stops for end in longer)


@pytest.mark.parametrize(
    ("stops", "text", "shown", "matched"),
    [
        (("b", "abcd"), "xabcd", "xa", "b"),
        (("b", "ab"), "xab", "x", "ab"),
        (("\n\n", "\n"), "x\n\ny", "x", "\n"),
        (("END",), "THE EEND. END", "THE E", "END"),
        (("END",), "THE EN", "THE EN", None),
        (("",), "x", "x", None),
    ],
)
def test_the_first_complete_one_wins_and_of_equal_ends_the_longest(
    stops: tuple[str, ...], text: str, shown: str, matched: str | None
) -> None:
    assert feed(list(text), stops, True) == (shown, matched)


def test_nothing_follows_a_match() -> None:
    matcher = StopMatcher(("b",), trim=False)
    assert matcher.push("abc") == ("ab", "b")
    assert matcher.push("b") == ("", None)
    assert matcher.flush() == ""
