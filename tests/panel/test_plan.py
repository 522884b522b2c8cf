from __future__ import annotations

import shlex
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.engine.errors import CapacityError, ConfigError
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.launch import LaunchPlan, Role, decode_plan, encode_plan
from pdpanel.panel.plan import RunIds, plan
from pdpanel.panel.ports import BOOTSTRAP_BAND, ROUTER_BAND, WORKER_BAND

HOST = HostFacts(node="n1", cores=8, python="/opt/py")
IDS = RunIds("r1", "/runs/r1", "/cache")


def make(fields: dict[str, object], host: HostFacts = HOST) -> LaunchPlan:
    return plan(parse_deployment({"model": "m", **fields}), host, IDS)


def test_a_pair_becomes_decode_prefill_and_router_with_sglangs_flags() -> None:
    made = make({"prefill": {"count": 1}, "decode": {"count": 1, "flags": {"page-size": 32}}})
    decode, prefill, router = made.processes
    assert decode.argv == (
        *("/opt/py", "-m", "pdpanel.engine.launch_server", "--model-path", "m"),
        *("--disaggregation-mode", "decode", "--host", "127.0.0.1", "--port", "30001"),
        *("--disaggregation-transfer-backend", "mooncake", "--threads", "8", "--yield-to-prefill"),
        *("--page-size", "32"),
    )
    assert prefill.argv == (
        *("/opt/py", "-m", "pdpanel.engine.launch_server", "--model-path", "m"),
        *("--disaggregation-mode", "prefill", "--host", "127.0.0.1", "--port", "30000"),
        *("--disaggregation-bootstrap-port", "8998", "--disaggregation-transfer-backend", "mooncake"),
        *("--threads", "8", "--niceness", "10"),
    )
    assert router.argv == (
        *("/opt/py", "-m", "pdpanel.engine.launch_router", "--host", "127.0.0.1", "--port", "8000"),
        *("--policy", "round_robin", "--pd-disaggregation"),
        *("--prefill", "http://127.0.0.1:30000", "8998", "--decode", "http://127.0.0.1:30001"),
    )
    assert [spec.name for spec in made.processes] == ["decode-0", "prefill-0", "router"]
    assert made.router_url == "http://127.0.0.1:8000"
    assert prefill.ready.url == "http://127.0.0.1:30000/health"
    assert router.ready.url == "http://127.0.0.1:8000/readiness"
    assert all(spec.after == () for spec in made.processes)
    assert prefill.env["OMP_NUM_THREADS"] == "4"
    assert prefill.env["PDPANEL_RUN_ID"] == "r1"
    assert prefill.env["PDPANEL_CACHE_DIR"] == "/cache"


def test_unified_workers_get_no_transfer_and_a_router_of_urls() -> None:
    made = make({"unified": {"count": 2}, "host": "::1"})
    worker, _, router = made.processes
    assert worker.argv[worker.argv.index("--disaggregation-mode") + 1] == "null"
    assert not any("transfer" in word or "bootstrap" in word for word in worker.argv)
    assert router.argv[-3:] == ("--worker-urls", "http://[::1]:30000", "http://[::1]:30001")


def test_flags_true_false_and_values_that_look_like_flags() -> None:
    made = make({"unified": {"count": 1, "flags": {"on": True, "off": False, "text": "--port", "n": -1}}})
    assert made.processes[0].argv[-3:] == ("--on", "--text=--port", "--n=-1")


def test_a_persons_environment_cannot_displace_the_plans() -> None:
    made = make({"unified": {"count": 1}, "env": {"OMP_NUM_THREADS": "3", "MC_GID_INDEX": "1"}})
    env = made.processes[0].env
    assert (env["OMP_NUM_THREADS"], env["MC_GID_INDEX"]) == ("3", "1")
    assert (env["PDPANEL_RUN_ID"], env["PDPANEL_PROCESS"]) == ("r1", "unified-0")


def test_a_taken_router_port_is_refused_with_a_free_one() -> None:
    host = replace(HOST, taken=frozenset({8000, 8001}))
    with pytest.raises(ConfigError) as caught:
        make({"unified": {"count": 1}, "router": {"port": 8001}}, host)
    assert caught.value.field == "router.port (--port)"
    assert caught.value.value == 8001
    assert "8002" in caught.value.remedy


def test_a_wished_router_port_is_not_given_to_a_worker() -> None:
    made = make({"unified": {"count": 2}, "router": {"port": 30000}})
    assert [spec.ports["http"] for spec in made.processes] == [30001, 30002, 30000]


def test_a_full_band_is_said() -> None:
    with pytest.raises(CapacityError, match="30000 and 30511"):
        make({"unified": {"count": 1}}, replace(HOST, taken=frozenset(WORKER_BAND)))


def test_ports_of_the_kernel_are_the_last_choice() -> None:
    host = replace(HOST, ephemeral=(30000, 30005))
    assert make({"unified": {"count": 1}}, host).processes[0].ports["http"] == 30006
    all_ephemeral = replace(HOST, ephemeral=(1024, 65535))
    assert make({"unified": {"count": 1}}, all_ephemeral).processes[0].ports["http"] == 30000


counts = st.one_of(
    st.tuples(st.integers(1, 64), st.integers(1, 64), st.just(0)),
    st.tuples(st.just(0), st.just(0), st.integers(1, 64)),
)
taken = st.frozensets(st.sampled_from([*WORKER_BAND[:200], *BOOTSTRAP_BAND[:80], *ROUTER_BAND[:5]]), max_size=60)
hostile = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=30).filter(
    lambda text: bool(text.strip()) and not text.startswith("-")
)


@settings(deadline=None)
@given(counts, taken, hostile)
def test_a_plan_depends_on_its_input_alone_and_no_port_is_given_twice(
    numbers: tuple[int, int, int], used: frozenset[int], model: str
) -> None:
    deployment = parse_deployment(
        {
            "model": model,
            "served_model_name": model,
            **{
                role: {"count": number, "flags": {"x-flag": model}}
                for role, number in zip(("prefill", "decode", "unified"), numbers, strict=True)
            },
        }
    )
    host = replace(HOST, taken=used)
    made = plan(deployment, host, IDS)
    assert made == plan(deployment, host, IDS)
    assert decode_plan(encode_plan(made)) == made
    ports = [port for spec in made.processes for port in spec.ports.values()]
    assert len(ports) == len(set(ports))
    assert not set(ports) & used
    assert len(made.processes) == sum(numbers) + 1
    assert made.processes[-1].role is Role.ROUTER
    for spec in made.processes:
        assert tuple(shlex.split(shlex.join(spec.argv))) == spec.argv
        if spec.role is not Role.ROUTER:
            assert spec.argv[spec.argv.index("--model-path") + 1] == model


def test_mooncakes_ports_are_a_narrow_band_of_the_workers_alone() -> None:
    decode, prefill, router = make({"prefill": {"count": 1}, "decode": {"count": 1}}).processes
    for worker in (decode, prefill):
        assert (worker.env["MC_MIN_RPC_PORT"], worker.env["MC_MAX_RPC_PORT"]) == ("15000", "15015")
    assert "MC_MIN_RPC_PORT" not in router.env
    for fields in ({"rpc_ports": None}, {"transport": "tcp"}):
        made = make({"prefill": {"count": 1}, "decode": {"count": 1}, **fields})
        assert not any("MC_MIN_RPC_PORT" in spec.env for spec in made.processes)
    assert "MC_MIN_RPC_PORT" not in make({"unified": {"count": 1}}).processes[0].env


def test_what_is_said_of_a_range_of_hosts_holds_for_each() -> None:
    made = make(
        {
            "prefill": {"count": 1, "hosts": ["n1"]},
            "decode": {"count": 2, "hosts": ["n[2-3]"]},
            "hosts": {"n[1-3]": {"env": {"NCCL_IB_HCA": "mlx5"}}, "n3": {"env": {"NCCL_IB_HCA": "own"}}},
        }
    )
    assert {spec.name: spec.env.get("NCCL_IB_HCA") for spec in made.processes} == {
        "prefill-0": "mlx5",
        "decode-0": "mlx5",
        "decode-1": "own",
        "router": "mlx5",
    }


def test_workers_on_several_machines_are_remarked_and_those_of_one_are_not() -> None:
    """A grant's lease is told on the monotonic clock, which machines do not share."""
    apart: dict[str, object] = {
        "prefill": {"count": 1, "hosts": ["10.0.0.1"]},
        "decode": {"count": 1, "hosts": ["10.0.0.2"]},
    }
    together: dict[str, object] = {
        "prefill": {"count": 1, "hosts": ["10.0.0.1"]},
        "decode": {"count": 1, "hosts": ["10.0.0.1"]},
    }
    assert [finding.id for finding in make(apart).findings] == ["bundled-several-machines"]
    assert make(together).findings == ()
