"""A job of Slurm is not started as if it were a process of this host."""

from __future__ import annotations

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.plan import plan
from pdpanel.panel.start.preflight import check_startable
from pdpanel.presets import load_preset


def test_a_job_of_slurm_is_sent_to_the_export() -> None:
    made = plan(parse_deployment(load_preset("mad-deepseek-v3-slurm")), elsewhere(), None)
    with pytest.raises(ConfigError, match="pdpanel export --format slurm"):
        check_startable(made, {"PATH": "/usr/bin"}, ["localhost"])
