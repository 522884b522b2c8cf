from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment_yaml import read_yaml
from pdpanel.panel.web.plan_yaml import change, changed_fields, dump_fields, read_document, read_fields

TEXT = """# ours
version: 1
name: x     # the name
model: ßig/m
prefill: {count: 1}
decode:
  count: 2
  # four of them
  tp: 4
prompt: |
  two
  lines
env:
  A: b

# the end
"""


def change_text(text: str, path: list[str], value: object, remove: bool = False) -> str:
    return change(read_document(text), path, value, remove).text


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("name", "y", "name: y     # the name"),
        ("model", "q: '$(x)'", "model: 'q: ''$(x)'''"),
        ("prefill.count", 3, "prefill: {count: 3}"),
        ("prefill.tp", 8, "prefill: {count: 1, tp: 8}"),
        ("decode.hosts", ["a", "b"], "  hosts: [a, b]"),
        ("decode.count", "02", "  count: '02'"),
        ("router.port", 8000, "router: {port: 8000}"),
        ("env", {"B": "1"}, "env: {B: '1'}"),
        ("prompt", "short", "prompt: short"),
    ],
)
def test_a_change_is_cut_into_its_line(path: str, value: object, line: str) -> None:
    after = change_text(TEXT, path.split("."), value)
    assert line in after.splitlines()
    assert read_fields(after) == changed_fields(read_fields(TEXT), path.split("."), value)
    for comment in ("# ours", "# four of them", "# the end", "# the name"):
        assert comment in after


def test_a_removed_field_takes_its_empty_part_along() -> None:
    after = change_text(TEXT, ["env", "A"], None, remove=True)
    assert "env" not in read_fields(after)
    assert "# the end" in after
    assert "prefill" not in read_fields(change_text(TEXT, ["prefill", "count"], None, remove=True))
    assert change_text(TEXT, ["decode", "nothing"], None, remove=True) == TEXT
    assert change_text(TEXT, ["name", "below"], None, remove=True) == TEXT


def test_a_value_that_is_there_already_changes_nothing() -> None:
    assert change_text(TEXT, ["decode", "tp"], 4) == TEXT
    assert change_text(TEXT, ["decode", "tp"], True) != TEXT
    assert read_fields(change_text(TEXT, ["decode", "tp"], True))["decode"]["tp"] is True


def test_a_time_is_the_text_that_the_file_reader_makes_of_it() -> None:
    """The Plan tab read a Slurm time of 24:00:00 as 86400 seconds, where `pdpanel plan` kept the text."""
    text = "time: 24:00:00\nlong: " + "1:" * 3000 + "1"
    assert read_fields(text) == read_yaml(text, "my.yaml") == {"time": "24:00:00", "long": "1:" * 3000 + "1"}


def test_something_else_than_a_part_is_replaced_by_one() -> None:
    assert read_fields(change_text("a: 1\nb: 2\n", ["a", "x"], 3)) == {"a": {"x": 3}, "b": 2}
    assert read_fields(change_text("a:\nb: 2\n", ["a", "x"], 3)) == {"a": {"x": 3}, "b": 2}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "line 1"),
        ("a: 1\nb: 2\na: 3", "line 3: 'a' is there twice"),
        ("a: &x [1]\nb: *x", "alias"),
        ("a: 0x" + "f" * 9000, "too many digits"),
        ("a: " + "9" * 5000, "too many digits"),
        ("[" * 200_000, "nested too deeply"),
        ("{a: " * 100_000, "nested too deeply"),
        ("- " * 200_000, "nested too deeply"),
        ("? " * 200_000, "nested too deeply"),
        ("- 1", "not a mapping"),
        ("", "not a mapping"),
        ("a: \x00", "not valid YAML"),
        ("a: !!python/object:os.system {}", "could not determine a constructor"),
    ],
)
def test_a_text_that_cannot_be_read_is_one_sentence(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_fields(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError):
        change_text(text, ["a"], 1)


_WORDS = st.text("ab1:#'\"{}[]-,& \n%ßé", max_size=8)
_SCALARS = st.one_of(_WORDS, st.integers(-9, 9), st.booleans(), st.none(), st.floats(0.5, 2))
_KEYS = st.sampled_from(["count", "tp", "hosts", "env", "x y", "12", "no"])
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=5,
)
_FIELDS = st.dictionaries(_KEYS, _VALUES, min_size=1, max_size=4)


@given(_FIELDS, st.lists(_KEYS, min_size=1, max_size=2), _VALUES, st.booleans(), st.booleans())
def test_a_change_means_the_same_in_the_text_and_in_the_values(
    fields: dict[str, Any], path: list[str], value: object, remove: bool, commented: bool
) -> None:
    text = dump_fields(fields)
    if commented:
        text = "# before\n" + text.replace("\n", "  \n", 1) + "\n# after\n"
    before = read_fields(text)
    after = change_text(text, path, value, remove)
    wanted = changed_fields(before, path, value, remove)
    assert read_fields(after) == wanted
    assert str(sorted(map(repr, read_fields(after).items()))) == str(sorted(map(repr, wanted.items())))
