"""The bundled engine's transports, the ones that no other engine has among them."""

from __future__ import annotations

import pytest
from pdpanel.engine.arguments import TRANSFER_BACKENDS
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.dialects.bundled import DIALECT
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.launch import LaunchPlan
from pdpanel.panel.plan import RunIds, plan

PAIR: dict[str, object] = {"prefill": {"count": 1}, "decode": {"count": 1}}


def made(**fields: object) -> LaunchPlan:
    host = HostFacts(node="n1", cores=8, python="/opt/py")
    return plan(parse_deployment({"model": "m", **PAIR, **fields}), host, RunIds("r1", "/runs/r1", "/cache"))


def test_the_dialect_has_the_engines_transports_and_both_halves_get_the_same() -> None:
    assert DIALECT.transports == TRANSFER_BACKENDS
    for transport in TRANSFER_BACKENDS:
        workers = [spec for spec in made(transport=transport).processes if spec.name != "router"]
        for spec in workers:
            assert spec.argv[spec.argv.index("--disaggregation-transfer-backend") + 1] == transport


def test_shared_memory_stays_on_one_host() -> None:
    def on(*hosts: str) -> LaunchPlan:
        prefill, decode = ({"count": 1, "hosts": [host]} for host in hosts)
        return made(transport="shm", prefill=prefill, decode=decode)

    assert on("10.0.0.1", "10.0.0.1").transport == "shm"
    with pytest.raises(ConfigError, match=r"transport = 'shm': reaches workers of one host alone.*mooncake or tcp"):
        on("10.0.0.1", "10.0.0.2")


@pytest.mark.parametrize("engine", ["sglang", "vllm"])
def test_other_engines_refuse_shared_memory_and_name_what_they_have(engine: str) -> None:
    with pytest.raises(ConfigError, match=r"transport = 'shm'.*write mooncake or mooncake_tcp"):
        made(transport="shm", engine=engine)
