from __future__ import annotations

from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.own_presets import presets_folder, save_own_preset
from pdpanel.panel.preset_catalogue import find_presets, load_any_preset

MINE = parse_deployment({"model": "mine/model", "unified": {"count": 1}})


def test_words_are_looked_for_in_everything_that_is_shown(tmp_path: Path) -> None:
    names = {entry.name for entry in find_presets(tmp_path, "DeepSeek nvl72")}
    assert names == {"p06-deepseek-r1-gb200-2p12d"}
    assert not find_presets(tmp_path, "deepseek abacus")


def test_own_presets_come_first_and_go_first(tmp_path: Path) -> None:
    save_own_preset(tmp_path, "smollm2-1p1d", MINE)
    first = find_presets(tmp_path)[0]
    assert (first.name, first.id, first.model, first.shape) == ("smollm2-1p1d", "own", "mine/model", "1 unified")
    assert load_any_preset(tmp_path, "smollm2-1p1d") == MINE
    assert load_any_preset(tmp_path, "smollm2-2p2d").prefill.count == 2


def test_a_broken_own_preset_is_listed_with_what_is_wrong(tmp_path: Path) -> None:
    folder = presets_folder(tmp_path)
    folder.mkdir()
    (folder / "bad.yaml").write_text("model: m\nmodle: x\n")
    broken = find_presets(tmp_path)[0]
    assert broken.name == "bad" and "modle" in broken.problem
    with pytest.raises(ConfigError, match="modle"):
        load_any_preset(tmp_path, "bad")


def test_a_wrong_name_gets_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_any_preset(tmp_path, "smollm2-1p2d")
    assert "smollm2-1p1d" in caught.value.remedy
