from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.recipes.recipe import Kind, Parameter, Recipe, Rendered, TextRule
from pdpanel.panel.recipes.settings import Settings, read_settings, url_host

PARAMETERS = (
    Parameter("word", Kind.TEXT, None, "", rule=TextRule(re.compile("[a-z]+"), "is no word", "write letters")),
    Parameter("anything", Kind.TEXT, None, ""),
    Parameter("count", Kind.COUNT, "3", ""),
    Parameter("number", Kind.NUMBER, None, ""),
    Parameter("flag", Kind.FLAG, "0", ""),
    Parameter("items", Kind.LIST, None, ""),
    Parameter("choice", Kind.CHOICE, None, "", ("red", "green", "blue")),
    Parameter("path", Kind.PATH, None, ""),
    Parameter("host", Kind.HOST, None, ""),
    Parameter("listen", Kind.ADDRESS, None, ""),
    Parameter("port", Kind.PORT, None, ""),
)
RECIPE = Recipe("sample", "", "", PARAMETERS, "", lambda settings: Rendered(()))


def read(*texts: str) -> Settings:
    return read_settings(RECIPE, texts)


def error(*texts: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(*texts)
    return caught.value


def test_defaults_are_read_as_what_a_person_gives() -> None:
    settings = read()
    assert (settings.count("count"), settings.flag("flag"), settings.has("word")) == (3, False, False)
    assert settings.items("items") == ()
    assert settings.given == frozenset()
    assert read("count=3").given == {"count"}


def test_a_value_may_hold_equal_signs() -> None:
    assert read("anything=a=b=").text("anything") == "a=b="


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("number=0", "number", 0),
        ("number=0.30", "number", 0.3),
        ("flag=Yes", "flag", True),
        ("flag=off", "flag", False),
        ("items=a,b", "items", ("a", "b")),
        ("items=a[1,2],b", "items", ("a[1,2]", "b")),
        ("items=a[1,b", "items", ("a[1", "b")),
        ("path=a $(b) 'c'", "path", "a $(b) 'c'"),
        ("host=[FD00::1]", "host", "fd00::1"),
        ("host=node_1.example", "host", "node_1.example"),
        ("listen=::", "listen", "::"),
        ("listen=localhost", "listen", "localhost"),
        ("port=65535", "port", 65535),
    ],
)
def test_good_values(text: str, name: str, value: object) -> None:
    assert read(text).values[name] == value


@pytest.mark.parametrize(
    "text",
    [
        "word=A",
        "word=a\n",
        "anything=",
        "anything=a\0b",
        "anything=\ud800",
        "anything=" + "a" * 70_000,
        "count=0",
        "count=-1",
        "count=1.5",
        "count=\u0663",
        "count=1" + "0" * 40,
        "number=-1",
        "number=nan",
        "number=1e9",
        "flag=2",
        "items=a,,b",
        "items=,",
        "choice=Red",
        "path=-rf",
        "path=a\nb",
        "path=a\u2028b",
        "host=-a",
        "host=a b",
        "host=$(a)",
        "host=1.2.3",
        "host=0.0.0.0",
        "host=fe80::1%$(id)",
        "listen=node1",
        "port=0",
        "port=65536",
    ],
)
def test_a_bad_value_is_named(text: str) -> None:
    name, _, value = text.partition("=")
    caught = error(text)
    assert (caught.field, caught.value) == (name, value)
    assert caught.remedy


def test_an_unknown_key_names_the_nearest() -> None:
    assert "perhaps count" in str(error("Counts=1"))
    assert "it takes word, " in str(error("zzzzzzzz=1"))


def test_a_key_twice_and_no_key_at_all() -> None:
    assert "second time" in str(error("count=1", "count=2"))
    assert "key=value" in str(error("count"))


def test_what_is_required_is_asked_for() -> None:
    required = Recipe("r", "", "", (Parameter("a", Kind.TEXT, None, "", required=True),), "", RECIPE.render)
    with pytest.raises(ConfigError, match="add --set a=VALUE"):
        read_settings(required, ())


def test_a_long_list_is_read_in_one_pass() -> None:
    """64 Ki characters of commas and brackets end within the time limit of every test."""
    assert len(read("items=" + "a,[" * 21_000).items("items")) == 21_001
    assert len(read("items=" + ",".join("a" * 30_000)).items("items")) == 30_000


@given(st.text(max_size=60), st.sampled_from([parameter.name for parameter in PARAMETERS]))
def test_whatever_is_given_is_read_or_refused(text: str, name: str) -> None:
    try:
        settings = read(f"{name}={text}")
    except ConfigError as caught:
        assert caught.field == name
        assert "\n" not in str(caught)
    else:
        assert "\0" not in settings.shown(name)


def test_an_address_in_a_url() -> None:
    assert (url_host("fd00::1"), url_host("node1")) == ("[fd00::1]", "node1")
