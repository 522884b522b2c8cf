from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.dialects.dialect import Dialect
from pdpanel.panel.dialects.placement import Placement
from pdpanel.panel.host_facts import HostFacts, elsewhere
from pdpanel.panel.planning.node_facts import NodeFacts
from pdpanel.panel.planning.place import place
from sample_dialect import Placer, make_dialect


@pytest.fixture
def placed() -> Placer:
    """Places a deployment of one prefill and one decode worker, with the fields that a test adds."""

    def build(
        dialect: Dialect | None = None,
        local: HostFacts | None = None,
        nodes: Mapping[str, NodeFacts] | None = None,
        **fields: Any,
    ) -> Placement:
        wanted = {"model": "m", "engine": "sglang", "prefill": {"count": 1}, "decode": {"count": 1}} | fields
        return place(parse_deployment(wanted), dialect or make_dialect(), local or elsewhere(), None, nodes or {})

    return build
