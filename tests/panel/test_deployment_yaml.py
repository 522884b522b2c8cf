"""YAML from elsewhere: what grows, hangs or hides is refused in one sentence, and times stay text."""

from __future__ import annotations

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment_yaml import read_yaml


def nested(merge: str) -> str:
    lines = ["x0: &x0 {k: v}"]
    for level in range(1, 12):
        names = ", ".join([f"*x{level - 1}"] * 10)
        lines.append(f"x{level}: &x{level} " + (f"{{<<: [{names}]}}" if merge else f"[{names}]"))
    return "\n".join(lines)


@pytest.mark.parametrize("text", [nested("<<"), nested(""), "a: &a [*a]", "&a\nb: *a", "a: &a {<<: *a}"])
def test_aliases_that_grow_without_bound_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="through its aliases"):
        read_yaml(text, "my.yaml")


def test_a_few_aliases_and_merges_are_fine() -> None:
    assert read_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: *a", "my.yaml") == {
        "a": {"x": 1},
        "b": {"x": 1, "y": 2},
        "c": {"x": 1},
    }


def test_numbers_to_the_base_of_sixty_stay_text() -> None:
    assert read_yaml("time: 24:00:00\nother: 1:30.5\nn: 12\nf: 0.5", "my.yaml") == {
        "time": "24:00:00",
        "other": "1:30.5",
        "n": 12,
        "f": 0.5,
    }
    long = ":".join(["1"] * 100_000)
    assert read_yaml(f"time: {long}", "my.yaml") == {"time": long}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2", "in line 2: 'a' is there twice"),
        ("[" * 100_000, "nested too deeply"),
        ("\tb: 1", "is not valid YAML"),
        ("a: b\0", "is not valid YAML"),
        ("a: 1\n---\nb: 2", "is not valid YAML"),
        ("!!python/object:os.system x", "is not valid YAML"),
        ("a: " + "9" * 5000, "is not valid YAML"),
        ("? [a]\n: b", "is not valid YAML"),
        ("a: 2001-99-99", "is not valid YAML"),
    ],
)
def test_what_is_no_deployment_file_is_one_sentence(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        read_yaml(text, "my.yaml")
    assert "my.yaml" in str(caught.value)
    assert str(caught.value).isprintable()


def test_an_empty_file_is_nothing() -> None:
    assert read_yaml("# nothing", "my.yaml") is None
