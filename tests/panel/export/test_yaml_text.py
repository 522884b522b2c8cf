"""The small YAML writer, read back by PyYAML."""

from __future__ import annotations

import yaml
from export_plans import NASTY
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.export.yaml_text import yaml_text

TEXT = (
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
    | st.sampled_from(NASTY)
    | st.sampled_from(
        ["yes", "No", "null", "~", "1", "0x1F", "1e3", ".5", "2026-01-01", "12:30:00", "a: b", "a:b", "-"]
    )
    | st.from_regex(r"[A-Za-z0-9_.:/@+=-]{1,12}", fullmatch=True)
)
LEAVES = TEXT | st.integers() | st.booleans()
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(LEAVES | st.dictionaries(TEXT, inner, max_size=3), max_size=4)
        | st.dictionaries(TEXT, inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(TEXT, VALUES, min_size=1, max_size=5))
def test_what_is_written_is_read_back(value: dict[str, object]) -> None:
    assert yaml.safe_load(yaml_text(value)) == value


def test_it_reads_well() -> None:
    value = {"a": {"b": ["python3", "-m", "30000"], "c": [{"d": True, "e": []}], "f": {}}}
    assert (
        yaml_text(value)
        == 'a:\n  b:\n    - python3\n    - "-m"\n    - "30000"\n  c:\n    - d: true\n      e: []\n  f: {}\n'
    )
