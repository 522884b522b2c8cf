from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.web.plan_lines import REMOVED, from_shown, host_lines, read_host_lines, to_shown


@pytest.mark.parametrize(
    ("kind", "shown", "value"),
    [
        ("text", " Qwen/Qwen3-8B ", "Qwen/Qwen3-8B"),
        ("text", "  ", REMOVED),
        ("long", " a\nb ", " a\nb "),
        ("int", "08", 8),
        ("int", "-1", -1),
        ("int", "eight", "eight"),
        ("int", "1.5", "1.5"),
        ("number", "0.85", 0.85),
        ("number", "2", 2),
        ("maybe", "yes", True),
        ("maybe", "no", False),
        ("words", "node[1-4,7] b,c", ["node[1-4,7]", "b", "c"]),
        ("lines", "-v /a b:/c\n\n--rm", ["-v /a b:/c", "--rm"]),
        ("ints", "0, 1 x", [0, 1, "x"]),
        ("env", "A=b=c\nD=\n", {"A": "b=c", "D": ""}),
        ("flags", "page-size 64\n--x=on\nenable-metrics\nf 0.5\ng false", None),
        ("band", "auto", "auto"),
        ("band", "none", None),
        ("band", "13000-13100", [13000, 13100]),
        ("nics", {"mode": "list", "text": "mlx5_0, mlx5_1"}, ["mlx5_0", "mlx5_1"]),
        ("nics", {"mode": "map", "text": "0: mlx5_0 mlx5_1\n1: mlx5_2"}, {"0": ["mlx5_0", "mlx5_1"], "1": ["mlx5_2"]}),
        ("nics", {"mode": "affinity", "text": "old"}, "affinity"),
        ("nics", {"mode": "", "text": ""}, REMOVED),
    ],
)
def test_what_a_control_holds_becomes_a_value(kind: str, shown: Any, value: object) -> None:
    found = from_shown(kind, shown)
    if kind == "flags":
        value = {"page-size": 64, "x": "on", "enable-metrics": True, "f": 0.5, "g": False}
    assert found == value
    assert repr(found) == repr(value)
    if value is not REMOVED:
        assert from_shown(kind, to_shown(kind, value)) == value


def test_a_tick_that_says_the_default_is_not_written() -> None:
    assert from_shown("bool", True, True) is REMOVED
    assert from_shown("bool", False, True) is False


@pytest.mark.parametrize("value", [None, 3, "x", [1, {"a": 2}], {"a": [1]}, True])
@pytest.mark.parametrize("kind", ["text", "int", "words", "env", "flags", "nics", "hosts", "band", "maybe", "bool"])
def test_every_value_can_be_shown_however_wrong_it_is(kind: str, value: object) -> None:
    shown = to_shown(kind, value)
    assert isinstance(shown, str | bool) or set(shown) == {"mode", "text"}  # type: ignore[arg-type]


def test_a_flag_with_several_values_is_a_list() -> None:
    value = {"cuda-graph-bs": [1, 2, 4], "name": ["a b", "c"]}
    assert from_shown("flags", to_shown("flags", value)) == value


def test_host_lines_say_what_is_known_of_a_host() -> None:
    text = "node01 10.0.0.1 gpus=8 gpu='H100 SXM' memory=80 nics=mlx5_0,mlx5_1 gbps=400\n\nnode[02-04]"
    hosts = read_host_lines(text)
    assert hosts == {
        "node01": {
            "address": "10.0.0.1",
            "gpus": 8,
            "gpu": "H100 SXM",
            "gpu_memory_gib": 80,
            "nics": ["mlx5_0", "mlx5_1"],
            "nic_gbps": 400,
        },
        "node[02-04]": {},
    }
    assert read_host_lines(host_lines(hosts)) == hosts


def test_what_lines_cannot_say_of_a_host_is_kept() -> None:
    present = {"a": {"gpus": 4, "env": {"X": "1"}, "run": {"image": "i"}}, "b": {"env": {"Y": "2"}}}
    assert read_host_lines("a gpus=8", present) == {"a": {"gpus": 8, "env": {"X": "1"}, "run": {"image": "i"}}}


def test_an_unknown_word_of_a_host_stays_and_a_quote_may_be_open() -> None:
    assert read_host_lines("a colour=blue") == {"a": {"colour": "blue"}}
    assert read_host_lines("a gpu='H1") == {"a": {"gpu": "'H1"}}


_NAMES = st.text("abz019-.[]", min_size=1, max_size=8)
_SPECS = st.fixed_dictionaries(
    {},
    optional={
        "address": st.from_regex(r"\A[a-z0-9.:]{1,12}\Z"),
        "gpus": st.integers(0, 99),
        "gpu": st.text("ab '\"$`\\", min_size=1, max_size=8).filter(lambda text: len(text.split()) > 0),
        "nics": st.lists(st.from_regex(r"\Amlx5_[0-9]\Z"), min_size=1, max_size=3),
    },
)


@given(st.dictionaries(_NAMES, _SPECS, max_size=4))
def test_hosts_survive_their_lines(hosts: dict[str, Any]) -> None:
    assert read_host_lines(host_lines(hosts)) == hosts


@given(st.text(max_size=60))
def test_nothing_that_is_typed_raises(text: str) -> None:
    for kind in ("int", "number", "words", "ints", "env", "flags", "band", "lines"):
        from_shown(kind, text)
    read_host_lines(text)
    from_shown("nics", {"mode": "map", "text": text})
