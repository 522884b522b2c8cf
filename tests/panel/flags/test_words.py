"""Words of a command become options and the same words again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.flags.words import Written, join_words, split_words


def _never(name: str) -> bool:
    return name == "--switch"


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("--tp-size 8", [Written("--tp-size", ("8",))]),
        ("--tp-size=8", [Written("--tp-size", ("8",), joined=True)]),
        ("--bs 1 2 4 --x", [Written("--bs", ("1", "2", "4")), Written("--x")]),
        ("--threshold -1 --share -.5", [Written("--threshold", ("-1",)), Written("--share", ("-.5",))]),
        ("--switch model", [Written("--switch"), Written("", ("model",))]),
        ("serve model -tp 8", [Written("", ("serve",)), Written("", ("model",)), Written("-tp", ("8",))]),
        ("--a=b c", [Written("--a", ("b",), joined=True), Written("", ("c",))]),
        ("--x -- --tp 8", [Written("--x"), *(Written("", (word,)) for word in ("--", "--tp", "8"))]),
    ],
)
def test_words_are_told_apart(words: str, options: list[Written]) -> None:
    assert list(split_words(words.split(), _never)) == options


def test_a_word_with_a_space_in_front_of_its_equals_sign_is_a_value() -> None:
    (option,) = split_words(["--chat-template", "-- a = b"], _never)
    assert option.values == ("-- a = b",)


_WORD = st.one_of(st.text(max_size=12), st.sampled_from(["--switch", "--tp-size", "--a=b=c", "--", "-1", "-", "--a="]))


@given(st.lists(_WORD, max_size=12))
def test_the_words_come_back(words: list[str]) -> None:
    assert list(join_words(split_words(words, _never))) == words
