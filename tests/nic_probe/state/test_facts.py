"""Facts of any shape become readings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.state.facts import Facts, as_bool, as_int, as_mapping, as_text, as_texts

_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def test_a_fact_of_the_wrong_type_says_what_it_reads() -> None:
    facts = Facts({"python": 3})
    assert facts.has("python")
    assert facts.read("python", as_text, "a version").reason == "reads '3', which is not a version"
    assert facts.read("clock", as_mapping, "a clock").reason == "is not among the facts"


def test_entries_of_the_wrong_type_are_left_out_of_a_table() -> None:
    facts = Facts({"packages": {"torch": "2.9", "vllm": None, 3: "x"}})
    assert facts.table("packages", as_text, "versions").value == {"torch": "2.9"}


def test_a_boolean_is_no_number() -> None:
    assert (as_int(True), as_int(7), as_int(1.5)) == (None, 7, None)
    assert (as_bool(1), as_bool(False)) == (None, False)
    assert as_texts(["a", 1, "b"]) == ("a", "b")
    assert as_texts("ab") is None


@given(_ANYTHING)
def test_no_shape_raises(value: object) -> None:
    facts = Facts({"x": value})
    for convert in (as_text, as_texts, as_mapping, as_bool, as_int):
        for reading in (facts.read("x", convert, "it"), facts.table("x", convert, "it")):
            assert reading.known or reading.reason
