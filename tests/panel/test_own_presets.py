from __future__ import annotations

from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment import Deployment, load_deployment, parse_deployment
from pdpanel.panel.own_presets import load_own_preset, own_presets, presets_folder, save_own_preset


@pytest.fixture
def deployment() -> Deployment:
    return parse_deployment({"model": "m", "prefill": {"count": 1}, "decode": {"count": 2}, "env": {"HF_TOKEN": "s"}})


def test_a_saved_preset_is_a_deployment_file_for_its_owner_alone(tmp_path: Path, deployment: Deployment) -> None:
    path = save_own_preset(tmp_path, "mine-1", deployment)
    assert load_deployment(path) == deployment
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [(each.name, each.deployment) for each in own_presets(tmp_path)] == [("mine-1", deployment)]
    assert load_own_preset(tmp_path, "mine-1") == deployment
    assert [entry.name for entry in path.parent.iterdir()] == ["mine-1.yaml"]


def test_a_taken_name_is_replaced_only_when_asked(tmp_path: Path, deployment: Deployment) -> None:
    save_own_preset(tmp_path, "mine", deployment)
    other = deployment.model_copy(update={"model": "n"})
    with pytest.raises(ConfigError, match="is there already"):
        save_own_preset(tmp_path, "mine", other)
    assert load_own_preset(tmp_path, "mine") == deployment
    save_own_preset(tmp_path, "mine", other, replace=True)
    assert load_own_preset(tmp_path, "mine") == other


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".hidden", "a" * 65, "a\n", "ä", "-x", "a b"])
def test_a_name_never_leads_out_of_the_folder(tmp_path: Path, deployment: Deployment, name: str) -> None:
    for call in (
        lambda: save_own_preset(tmp_path / "c", name, deployment),
        lambda: load_own_preset(tmp_path / "c", name),
    ):
        with pytest.raises(ConfigError, match="cannot be a preset's name"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_a_broken_file_is_listed_with_its_problem(tmp_path: Path, deployment: Deployment) -> None:
    assert own_presets(tmp_path) == ()
    save_own_preset(tmp_path, "good", deployment)
    (presets_folder(tmp_path) / "bad.yaml").write_text("model: [")
    (presets_folder(tmp_path) / ".half.yaml").write_text("x")
    bad, good = own_presets(tmp_path)
    assert (bad.name, bad.deployment, good.problem) == ("bad", None, "")
    assert "is not valid YAML" in bad.problem


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path, deployment: Deployment) -> None:
    (tmp_path / "presets").write_text("a file")
    with pytest.raises(ConfigError) as caught:
        save_own_preset(tmp_path, "mine", deployment)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="not a preset"):
        load_own_preset(tmp_path, "mine")


def test_a_link_is_replaced_and_not_followed(tmp_path: Path, deployment: Deployment) -> None:
    victim = tmp_path / "victim"
    victim.write_text("keep")
    presets_folder(tmp_path).mkdir()
    (presets_folder(tmp_path) / "mine.yaml").symlink_to(victim)
    save_own_preset(tmp_path, "mine", deployment, replace=True)
    assert victim.read_text() == "keep"
