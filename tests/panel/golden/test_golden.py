"""Every published launch case, rendered from a Deployment that its inputs alone describe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from comparison import assert_same
from inputs import deployment_of
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.plan import plan
from pdpanel.panel.render import render

CASES = Path(__file__).resolve().parents[4] / "shared" / "golden" / "launch_commands.json"
