from __future__ import annotations

from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.simulate.catalogue import find_host, shipped
from pdpanel.panel.simulate.description import Description


def test_what_is_shipped_is_found_by_name() -> None:
    assert {"hgx-8", "mi300x-8", "small-2"} <= shipped().keys()
    for name, description in shipped().items():
        assert find_host(name) == description
        assert description.name == name and description.title


@pytest.mark.parametrize("wanted", ["hgx", "", "/nowhere/own.toml", "own.toml", "HGX-8", "a\x00b"])
def test_another_name_is_answered_with_the_names(wanted: str) -> None:
    with pytest.raises(ConfigError) as told:
        find_host(wanted)
    assert all(name in str(told.value) for name in shipped())


def test_an_own_description_and_a_dump_are_found_by_path(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text("name = 'own'\ntitle = 't'\n")
    found = find_host(str(own))
    assert isinstance(found, Description) and found.name == "own"
    assert find_host(str(tmp_path)) == tmp_path
