"""Whatever a person asks for: no port and no GPU is given twice, and what cannot be is one sentence."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine.errors import PdpanelError
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.dialects.dialect import PortDefaults
from pdpanel.panel.dialects.placement import Placement
from pdpanel.panel.host_facts import HostFacts, elsewhere
from pdpanel.panel.launch import Role
from pdpanel.panel.plan import plan
from pdpanel.panel.planning.derived_ports import dist_offsets, http_offsets, kv_offsets
from pdpanel.panel.planning.place import place
from sample_dialect import make_dialect

NAMES = ("a", "b", "c", "d")
VLLM = PortDefaults(
    http={Role.PREFILL: 8100, Role.DECODE: 8200}, kv={Role.PREFILL: 13003, Role.DECODE: 13003}, router=8000
)
DIALECTS = {
    "sglang": make_dialect(),
    "vllm": make_dialect("vllm-v0", "vllm", ports=VLLM, routers=("proxy",), gpu_selection="visible-devices"),
}


def rarely(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly None: with every field at hand hardly a deployment would fit."""
    return st.integers(0, 7).flatmap(lambda number: strategy if number == 7 else st.none())


near_ports = rarely(st.one_of(st.integers(29998, 30004), st.integers(8996, 9001), st.integers(1, 65535)))
hosts = st.one_of(st.none(), st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
sizes = st.sampled_from([None, 1, 2, 3, 4, 8])


def role(least: int) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "count": st.integers(least, 5),
            "hosts": hosts,
            "nodes": rarely(st.integers(2, 3)).map(lambda nodes: nodes or 1),
            "tp": sizes,
            "pp": st.sampled_from([None, 1, 2]),
            "dp": sizes,
            "dp_attention": st.sampled_from([None, True, False]),
            "port": near_ports,
            "bootstrap_port": near_ports,
            "dist_port": near_ports,
            "kv_port": near_ports,
            "base_gpu_id": rarely(st.integers(0, 8)),
            "gpus": rarely(st.lists(st.integers(0, 9), min_size=1, max_size=9)),
            "nics": rarely(st.sampled_from(["affinity", "auto", ["mlx5_0"], {"0": ["mlx5_0"], "1": ["mlx5_1"]}])),
        }
    )


deployments = st.fixed_dictionaries(
    {
        "model": st.just("m"),
        "engine": st.sampled_from(["sglang", "vllm"]),
        "host": st.sampled_from(["10.0.0.9", "127.0.0.1"]),
        "prefill": role(1),
        "decode": role(1),
        "encoder": role(0),
        "hosts": st.dictionaries(
            st.sampled_from([*NAMES, "n[1-2]"]),
            st.fixed_dictionaries(
                {
                    "gpus": rarely(st.sampled_from([0, 4, 8, 16])),
                    "address": rarely(st.sampled_from(["10.0.0.1", "10.0.0.2", "127.0.0.1", "fd00::1"])),
                    "nics": rarely(st.sampled_from([[], ["mlx5_0"]])),
                }
            ),
            max_size=3,
        ),
        "gpu_selection": rarely(st.sampled_from(["base-gpu-id", "visible-devices", "uuid", "none"])),
        "transport": st.sampled_from(["mooncake", "mooncake_tcp", "nixl"]),
        "rpc_ports": rarely(st.tuples(st.integers(1, 65535), st.integers(1, 65535))).map(lambda band: band or "auto"),
        "router": st.fixed_dictionaries(
            {"port": near_ports, "metrics_port": near_ports, "node": rarely(st.sampled_from(NAMES))}
        ),
        "metadata": rarely(
            st.sampled_from(
                [
                    {"server": "etcd://10.0.0.1:2379", "start": True},
                    {"server": "127.0.0.1:30000", "start": True},
                    {"server": "etcd://10.0.0.1:2379,10.0.0.2:2379,c:2379", "start": True},
                    {"server": "P2PHANDSHAKE", "start": True},
                ]
            )
        ),
        "store": rarely(
            st.sampled_from([{}, {"master": "10.0.0.2:8998", "metadata": "http://10.0.0.2:8080/metadata"}])
        ),
    }
)
locals_ = st.sampled_from(
    [elsewhere(), HostFacts("a", 8, "python3", frozenset({30000, 8000, 8998, 15001}), (15100, 30010))]
)


def machine_of(placement: Placement, node: str) -> str:
    address = placement.addresses.get(node, "")
    return "" if node in {"", placement.local_name} or address == "127.0.0.1" else address


@settings(deadline=None)
@given(deployments, locals_)
def test_nothing_is_given_twice(fields: dict[str, Any], local: HostFacts) -> None:
    try:
        deployment = parse_deployment(fields)
        dialect = DIALECTS[deployment.engine]
        made = place(deployment, dialect, local, None, {})
    except PdpanelError as error:
        assert str(error)
        return
    assert place(deployment, dialect, local, None, {}) == made
    ports: set[tuple[str, int]] = set()
    gpus: set[tuple[str, int]] = set()

    def hold(node: str, port: int) -> None:
        assert 0 < port < 65536
        assert (machine_of(made, node), port) not in ports, (node, port)
        ports.add((machine_of(made, node), port))

    for server in made.servers:
        for port in server.ports.values():
            hold(server.node, port)
    assert made.router is not None
    hold(made.router.node, made.router.port)
    if made.router.metrics_port is not None:
        hold(made.router.node, made.router.metrics_port)
    seen: set[tuple[str, int, str]] = set()
    for worker in made.workers:
        for gpu in worker.gpus:
            assert (machine_of(made, worker.node), gpu) not in gpus
            gpus.add((machine_of(made, worker.node), gpu))
        machine = machine_of(made, worker.node)
        if (worker.role.value, worker.index, machine) in seen:
            continue  # Two ranks on one machine, which is known by two names.
        seen.add((worker.role.value, worker.index, machine))
        for offset in http_offsets(dialect, worker.settings):
            hold(worker.node, worker.port + offset)
        if worker.role is Role.PREFILL and worker.bootstrap_port is not None:
            hold(worker.node, worker.bootstrap_port)
        if worker.kv_port is not None:
            for offset in kv_offsets(dialect, worker.settings):
                hold(worker.node, worker.kv_port + offset)
        if worker.dist_init and worker.rank == 0:
            for offset in dist_offsets(dialect):
                hold(worker.node, int(worker.dist_init.rpartition(":")[2]) + offset)
    machines = {machine_of(made, node): band for node, band in made.rpc_ports.items()}
    for machine, (low, high) in machines.items():
        assert not {(machine, port) for port in range(low, high + 1)} & ports


@settings(deadline=None)
@given(deployments, locals_, st.sampled_from(["bundled", "sglang", "vllm"]))
def test_a_plan_is_made_or_refused_in_one_sentence(fields: dict[str, Any], local: HostFacts, engine: str) -> None:
    used = {"model", "prefill", "decode", "hosts", "host", "router", "rpc_ports"}
    bare = {name: value for name, value in fields.items() if engine != "bundled" or name in used}
    if engine == "bundled":
        for name in ("prefill", "decode"):
            bare[name] = {key: value for key, value in fields[name].items() if key in ("count", "hosts", "port")}
        bare["router"] = {"port": fields["router"]["port"], "node": fields["router"]["node"]}
    try:
        deployment = parse_deployment({**bare, "engine": engine})
        made = plan(deployment, local, None)
    except PdpanelError as error:
        assert "\n" not in str(error)
        return
    except KeyError:
        assert engine != "bundled"  # A dialect that is not there yet.
        return
    assert made == plan(deployment, local, None)
    held = [(spec.node, port) for spec in made.processes for port in set(spec.ports.values())]
    assert made.dialect != "bundled" or len(held) == len(set(held))
