"""Which variables are looked at, and what of them is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.nic_probe.sources.memory import MemoryTree
from pdpanel.nic_probe.state.environment import probe_environment
from pdpanel.nic_probe.state.facts import Facts

_LIVE = HostFiles(Path("/"))


def test_only_what_matters_is_kept_and_no_secret() -> None:
    environ = {
        "MC_GID_INDEX": "3",
        "HOME": "/root",
        "http_proxy": "http://p",
        "MC_REDIS_PASSWORD": "x",
        "SGLANG_API_KEY": "x",
        "CUDA_VISIBLE_DEVICES": "",
        "WITH_NVIDIA_PEERMEM": "0",
    }
    shown = probe_environment(_LIVE, Facts({}), environ).value
    assert shown == {
        "CUDA_VISIBLE_DEVICES": "",
        "MC_GID_INDEX": "3",
        "WITH_NVIDIA_PEERMEM": "0",
        "http_proxy": "http://p",
    }


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("http://user:pass@proxy:3128", "http://***@proxy:3128"),
        ("http://token@proxy", "http://***@proxy"),
        ("user:pass@proxy:3128", "***@proxy:3128"),
        ("http://proxy:3128/x@y", "http://proxy:3128/x@y"),
    ],
)
def test_credentials_are_masked(value: str, shown: str) -> None:
    assert probe_environment(_LIVE, Facts({}), {"https_proxy": value}).otherwise({})["https_proxy"] == shown


def test_a_capture_that_holds_no_variables_says_so() -> None:
    capture = HostFiles(MemoryTree({}))
    assert probe_environment(capture, Facts({}), {}).value is None
    assert probe_environment(capture, Facts({"environ": {}}), {"MC_MTU": "4096"}).value == {"MC_MTU": "4096"}
