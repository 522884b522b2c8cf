from __future__ import annotations

from pathlib import Path

from pdpanel.panel.config import read_config
from platformdirs import user_cache_path, user_config_path, user_state_path


def test_folders_default_to_those_of_the_platform() -> None:
    config = read_config({})
    assert config.state_dir == user_state_path("pdpanel")
    assert config.cache_dir == user_cache_path("pdpanel")
    assert config.config_dir == user_config_path("pdpanel")


def test_an_option_wins_over_the_environment_and_that_over_the_default() -> None:
    environ = {"PDPANEL_STATE_DIR": "/env/state", "PDPANEL_CACHE_DIR": "/env/cache", "PDPANEL_CONFIG_DIR": ""}
    config = read_config(environ, state_dir=Path("/option/state"))
    assert config.state_dir == Path("/option/state")
    assert config.cache_dir == Path("/env/cache")
    assert config.config_dir == user_config_path("pdpanel")


def test_folders_are_absolute_whatever_is_given() -> None:
    config = read_config({"PDPANEL_STATE_DIR": "some/where"}, cache_dir=Path("~/x"))
    assert config.state_dir == Path.cwd() / "some/where"
    assert config.cache_dir == Path.home() / "x"
