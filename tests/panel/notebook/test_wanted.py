from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.notebook.wanted import Source, read_wanted
from pdpanel.presets import preset_names

YAML = "model: SmolLM2-135M-Instruct\nprefill: {count: 1}\ndecode: {count: 2}\n"


def test_without_words_it_is_the_small_model(tmp_path: Path) -> None:
    wanted, source = read_wanted(None, {}, tmp_path)
    assert (wanted.model, wanted.prefill.count, wanted.decode.count, source) == ("SmolLM2-135M-Instruct", 1, 1, "")


@pytest.mark.parametrize(
    "given", [YAML, {"model": "SmolLM2-135M-Instruct", "prefill": {"count": 1}, "decode": {"count": 2}}]
)
def test_yaml_fields_and_a_deployment_are_the_same(tmp_path: Path, given: Any) -> None:
    first, _ = read_wanted(given, {}, tmp_path)
    again, _ = read_wanted(first, {}, tmp_path)
    assert first == again == parse_deployment(first.model_dump())
    assert first.decode.count == 2


def test_a_file_says_where_it_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(YAML)
    for source in (file, str(file)):
        wanted, origin = read_wanted(source, {"decode": 3, "port": 8123, "transport": "tcp", "name": "mine"}, tmp_path)
        assert (wanted.decode.count, wanted.router.port, wanted.transport, wanted.name) == (3, 8123, "tcp", "mine")
        assert origin == str(file)


def test_a_preset_by_name(tmp_path: Path) -> None:
    name = preset_names()[0]
    assert read_wanted(name, {}, tmp_path)[0] == read_wanted(name, {}, tmp_path)[0]


def test_any_field_can_be_changed(tmp_path: Path) -> None:
    wanted, _ = read_wanted(None, {"unified": 1}, tmp_path)
    assert (wanted.prefill.count, wanted.decode.count, wanted.unified.count) == (0, 0, 1)
    wanted, _ = read_wanted(None, {"decode": {"count": 2, "page_size": 16}, "host": "127.0.0.1"}, tmp_path)
    assert (wanted.decode.count, wanted.decode.page_size) == (2, 16)


@pytest.mark.parametrize(
    ("source", "fields", "field"),
    [
        (None, {"prefill": "two"}, "prefill"),
        (None, {"prefill": True}, "prefill"),
        (None, {"port": "80"}, "port"),
        (None, {"decode": -1}, "decode.count"),
        (None, {"no_such_field": 1}, "no_such_field"),
        ("no-such-preset", {}, "preset"),
        ("missing.yaml", {}, "missing.yaml"),
        ({"model": "x", "modle": "y"}, {}, "modle"),
    ],
)
def test_an_error_names_what_is_wrong(tmp_path: Path, source: Source, fields: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_wanted(source, fields, tmp_path)
    assert field in str(caught.value)
