"""What the engine takes from its environment."""

from pathlib import Path

import pytest
from pdpanel.engine.config import read_environment
from pdpanel.engine.errors import ConfigError


def test_the_defaults_need_nothing_set() -> None:
    environment = read_environment({})
    assert environment.cache_dir.name == "pdpanel"
    assert (environment.bootstrap_timeout_s, environment.waiting_timeout_s) == (300.0, 300.0)
    assert not environment.hf_offline and not environment.use_modelscope


def test_what_is_set_counts() -> None:
    environment = read_environment(
        {
            "PDPANEL_CACHE_DIR": "/somewhere",
            "HF_TOKEN": "secret",
            "HF_HUB_OFFLINE": "1",
            "SGLANG_USE_MODELSCOPE": "true",
            "SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT": "600",
            "SGLANG_DISAGGREGATION_WAITING_TIMEOUT": " 12.5 ",
        }
    )
    assert environment.cache_dir == Path("/somewhere")
    assert (environment.hf_token, environment.hf_offline, environment.use_modelscope) == ("secret", True, True)
    assert (environment.bootstrap_timeout_s, environment.waiting_timeout_s) == (600.0, 12.5)


@pytest.mark.parametrize(
    ("interval", "failures", "taken"),
    [(None, None, (5.0, 2)), ("10.5", "3", (10.5, 3)), ("0.5", "0", (2.0, 1)), ("2", "-4", (2.0, 1))],
)
def test_sglangs_heartbeat_has_sglangs_defaults_and_floors(
    interval: str | None, failures: str | None, taken: tuple[float, int]
) -> None:
    names = ("SGLANG_DISAGGREGATION_HEARTBEAT_INTERVAL", "SGLANG_DISAGGREGATION_HEARTBEAT_MAX_FAILURE")
    values = zip(names, (interval, failures), strict=True)
    environment = read_environment({name: value for name, value in values if value is not None})
    assert (environment.heartbeat_interval_s, environment.heartbeat_max_failures) == taken


@pytest.mark.parametrize("value", ["two", "1.5", "²"])
def test_a_count_that_is_none_is_refused_by_name(value: str) -> None:
    with pytest.raises(ConfigError, match="SGLANG_DISAGGREGATION_HEARTBEAT_MAX_FAILURE"):
        read_environment({"SGLANG_DISAGGREGATION_HEARTBEAT_MAX_FAILURE": value})


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "inf"])
def test_a_time_that_is_none_is_refused_by_name(value: str) -> None:
    with pytest.raises(ConfigError, match="SGLANG_DISAGGREGATION_WAITING_TIMEOUT"):
        read_environment({"SGLANG_DISAGGREGATION_WAITING_TIMEOUT": value})
