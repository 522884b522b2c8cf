from __future__ import annotations

from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
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


def test_the_size_of_a_log_is_given_in_mib() -> None:
    assert read_config({}).log_bytes == 256 << 20
    assert read_config({"PDPANEL_LOG_MB": "3"}).log_bytes == 3 << 20


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "9" * 30, "²"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"PDPANEL_LOG_MB = .*is not a whole number from 1"):
        read_config({"PDPANEL_LOG_MB": text})
