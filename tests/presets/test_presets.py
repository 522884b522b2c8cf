from __future__ import annotations

import re

import pytest
from pdpanel.panel.deployment import parse_deployment
from pdpanel.presets import PresetError, describe_preset, load_preset, preset_names


def test_the_presets_of_the_bundled_engine_are_there() -> None:
    names = preset_names()
    assert {"smollm2-1p1d", "smollm2-2p2d", "smollm2-unified"} <= set(names)
    assert names == sorted(names)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_a_deployment_of_its_name(name: str) -> None:
    fields = load_preset(name)
    assert "preset" not in fields
    deployment = parse_deployment(fields)
    assert deployment.name == name


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_says_what_it_is_for_and_where_it_comes_from(name: str) -> None:
    about = describe_preset(name)
    assert about.description.endswith(".") and "\n" not in about.description
    assert about.hardware and about.source
    assert re.fullmatch(r"P\d\d|bundled", about.id)


@pytest.mark.parametrize("name", preset_names())
def test_only_the_bundled_engines_presets_were_seen_working(name: str) -> None:
    """Nothing else was run by this project; whoever runs one writes where, and by what it was checked."""
    about = describe_preset(name)
    if about.verified:
        assert set(about.verified) == {"engine", "hardware", "transport", "by"}
        assert all(isinstance(fact, str) for fact in about.verified.values())
    assert bool(about.verified) == (about.id == "bundled")


def test_every_published_recipe_has_a_preset() -> None:
    assert {describe_preset(name).id for name in preset_names()} == {"bundled", *(f"P{n:02}" for n in range(1, 28))}


def test_each_caller_gets_its_own_copy() -> None:
    load_preset("smollm2-1p1d")["name"] = "changed"
    assert load_preset("smollm2-1p1d")["name"] == "smollm2-1p1d"


@pytest.mark.parametrize("name", ["smollm2-1p2d", "SMOLLM2-1P1D"])
def test_a_wrong_name_gets_the_nearest(name: str) -> None:
    with pytest.raises(PresetError, match=r"^There is no preset '.*'; the nearest are .*smollm2-1p1d"):
        load_preset(name)


@pytest.mark.parametrize("name", ["", "../presets/smollm2-1p1d", "smollm2-1p1d.yaml", "x" * 10_000])
def test_a_name_is_never_a_path(name: str) -> None:
    with pytest.raises(PresetError) as caught:
        load_preset(name)
    assert len(str(caught.value)) < 200
    with pytest.raises(PresetError):
        describe_preset(name)
