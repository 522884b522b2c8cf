"""Commands become a Deployment whose own commands are the same; what it cannot say is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pdpanel.engine.errors import CapacityError, ConfigError
from pdpanel.nic_probe.finding import Severity
from pdpanel.panel.deployment import Deployment, dump_deployment, parse_deployment
from pdpanel.panel.lint.importing import import_text, import_texts

from .shell_form import comparable, configs, document, script

CASES = Path(__file__).resolve().parents[4] / "shared" / "golden" / "launch_commands.json"
HALF = "s004-prefill-tuning-env"
P = "python -m sglang.launch_server --model-path Qwen/Q --disaggregation-mode prefill --port 30000"
D = "python -m sglang.launch_server --model-path Qwen/Q --disaggregation-mode decode --port 30001 --base-gpu-id 1"
R = "python -m sglang_router.launch_router --pd-disaggregation --host 0.0.0.0 --port 8000"
PAIR = " --prefill http://127.0.0.1:30000 --decode http://127.0.0.1:30001"


def imported(text: str) -> Deployment:
    deployment = import_text(text).deployment
    assert deployment is not None
    return deployment


def lost(text: str) -> str:
    return "\n".join(finding.reason for finding in import_text(text).findings)


@pytest.fixture(scope="module")
def cases() -> list[dict[str, Any]]:
    if not CASES.exists():
        pytest.skip("shared/golden is not beside the checkout")
    launched = {"prefill", "decode", "server"}
    every = json.loads(CASES.read_text("utf-8"))
    return [case for case in every if launched & {command["role"] for command in case["commands"]}]


def test_published_cases_come_back_as_they_were(cases: list[dict[str, Any]]) -> None:
    assert len(cases) > 15
    for case in cases:
        if case["id"] == HALF:
            continue
        result = import_texts([("script.sh", script(case)), *configs(case)], case["id"])
        assert result.deployment is not None, case["id"]
        assert comparable(document(result.deployment)) == comparable(case), case["id"]
        assert result.findings == (), case["id"]


def test_a_script_with_one_half_gets_the_other() -> None:
    deployment = imported(P)
    assert (deployment.prefill.count, deployment.decode.count) == (1, 1)
    assert "decode-0" in lost(P)


def test_a_pair_is_read_into_fields() -> None:
    text = f"docker run lmsysorg/sglang:v0.5.23 {P} --tp-size 2 --mem-fraction-static 0.8\n{D} --tp-size 2\n{R}{PAIR}"
    deployment = imported(text.replace("--base-gpu-id 1", "--base-gpu-id 2"))
    assert (deployment.engine, deployment.engine_version, deployment.model) == ("sglang", "0.5.23", "Qwen/Q")
    assert (deployment.prefill.tp, deployment.prefill.mem_fraction, deployment.decode.tp) == (2, 0.8, 2)
    assert (deployment.router.kind, deployment.router.port) == ("sglang-router", 8000)


def test_hosts_come_from_options_router_and_ssh() -> None:
    named = (
        f"{P} --host 10.0.0.1\n{D} --host 10.0.0.2\n{R} --prefill http://10.0.0.1:30000 --decode http://10.0.0.2:30001"
    )
    assert (imported(named).prefill.hosts, imported(named).decode.hosts) == (["10.0.0.1"], ["10.0.0.2"])
    everywhere = named.replace("--host 10.0.0.1\n", "--host 0.0.0.0\n").replace("--host 10.0.0.2\n", "--host 0.0.0.0\n")
    assert imported(everywhere).decode.hosts == ["10.0.0.2"]
    assert "0.0.0.0" in lost(everywhere)
    remote = f"ssh root@node1 '{P}'\nssh node2 {D}"
    assert (imported(remote).prefill.hosts, imported(remote).decode.hosts) == (["node1"], ["node2"])


def test_options_without_a_field_stay_flags_and_variables() -> None:
    deployment = imported(f"A=1 {P} --watchdog-timeout 300 --disable-radix-cache\n{D}\n{R}{PAIR} --retry-max-retries 3")
    assert deployment.prefill.flags == {"watchdog-timeout": 300, "disable-radix-cache": True}
    assert deployment.prefill.env == {"A": "1"}
    assert deployment.router.flags == {"retry-max-retries": 3}


def test_what_turns_metrics_on_becomes_observe() -> None:
    text = f"MC_TE_METRIC=1 {P} --enable-metrics\nMC_TE_METRIC=1 {D} --enable-metrics\n{R}{PAIR}"
    deployment = imported(text)
    assert deployment.observe
    assert deployment.prefill.flags == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{P} --api-key sk-1\n{D}\n{R}{PAIR}", "--api-key"),
        (f"{P} --disaggregation-ib-device /etc/map.json\n{D}\n{R}{PAIR}", "/etc/map.json"),
        (f"{P}\n{D} --tp-size 4\n{D} --port 30002 --tp-size 8\n{R}{PAIR}", "--tp-size 8"),
        (f"{P} --nonsense.x 1\n{D}", "--nonsense.x"),
        (f"{P}\n{D}\n{R}{PAIR}\n{P} --port 1\n{D}", "another deployment"),
        (f"{P}\n{D}\nvllm serve m", "one engine"),
    ],
)
def test_nothing_is_lost_without_a_word(text: str, told: str) -> None:
    assert told in lost(text)


def test_secrets_are_neither_kept_nor_shown() -> None:
    result = import_text(f"HF_TOKEN=hf_secret {P} --api-key sk-secret\n{D}")
    assert result.deployment is not None
    assert "secret" not in dump_deployment(result.deployment)
    assert "sk-secret" not in repr(result.findings) and "hf_secret" not in repr(result.findings)


def test_a_deployment_comes_back_as_it_is() -> None:
    deployment = parse_deployment({"model": "m", "engine": "sglang", "prefill": {"count": 1}, "decode": {"count": 2}})
    assert import_text(dump_deployment(deployment)).deployment == deployment


def test_a_compose_file_is_read() -> None:
    text = (
        f"services:\n  p:\n    image: lmsysorg/sglang:v0.5.23\n    command: {P} --host p\n"
        f"  d:\n    image: lmsysorg/sglang:v0.5.23\n    command: {D} --host d\n"
    )
    deployment = imported(text)
    assert (deployment.prefill.hosts, deployment.decode.hosts, deployment.engine_version) == (["p"], ["d"], "0.5.23")


@pytest.mark.parametrize("text", ["", "ls -l", "a\0b", "{", "etcd", f"{R}{PAIR}"])
def test_what_starts_no_worker_is_no_deployment(text: str) -> None:
    result = import_text(text)
    assert result.deployment is None
    assert [finding.severity for finding in result.findings] == [Severity.ERROR]


def test_any_name_becomes_a_usable_one() -> None:
    for name in ("My Deployment!", "../../x", "", "ü" * 100):
        deployment = import_text(f"{P}\n{D}", name).deployment
        assert deployment is not None and len(deployment.name) <= 40


counts = st.integers(1, 3)
sizes = st.sampled_from([1, 2, 4])
sglang = st.fixed_dictionaries(
    {
        "engine": st.just("sglang"),
        "model": st.sampled_from(["Qwen/Q", "/models/it's $HOME", "a b"]),
        "observe": st.booleans(),
        "rpc_ports": st.none(),
        "transport": st.sampled_from(["mooncake", "mooncake_tcp", "nixl"]),
        "engine_version": st.sampled_from(["", "0.5.23"]),
        "prefill": st.fixed_dictionaries(
            {"count": counts, "tp": sizes},
            optional={
                "hosts": st.just(["10.0.0.1"]),
                "page_size": st.just(64),
                "flags": st.just({"watchdog-timeout": 300, "disable-radix-cache": True}),
                "env": st.just({"A": "b c'd"}),
                "bootstrap_port": st.sampled_from([8998, 9100]),
            },
        ),
        "decode": st.fixed_dictionaries(
            {"count": counts},
            optional={"hosts": st.just(["10.0.0.2", "10.0.0.3"]), "max_running_requests": st.just(128), "tp": sizes},
        ),
        "router": st.fixed_dictionaries(
            {},
            optional={
                "port": st.just(8123),
                "policy": st.just("round_robin"),
                "kind": st.sampled_from(["none", "smg"]),
            },
        ),
    },
    optional={
        "nics": st.sampled_from([["mlx5_0", "mlx5_1"], {"0": ["mlx5_0"], "1": ["mlx5_1"]}]),
        "modelscope": st.just(True),
    },
)
bundled = st.fixed_dictionaries(
    {
        "engine": st.just("bundled"),
        "model": st.just("SmolLM2-135M-Instruct"),
        "transport": st.sampled_from(["mooncake", "tcp"]),
        "prefill": st.fixed_dictionaries({"count": counts}, optional={"flags": st.just({"page-size": 32})}),
        "decode": st.fixed_dictionaries({"count": counts}, optional={"env": st.just({"X": "1"})}),
        "router": st.fixed_dictionaries({}, optional={"port": st.just(8123), "policy": st.just("random")}),
    }
)
vllm = st.fixed_dictionaries(
    {
        "engine": st.just("vllm"),
        "model": st.just("Qwen/Q"),
        "observe": st.booleans(),
        "rpc_ports": st.none(),
        "transport": st.sampled_from(["mooncake", "nixl"]),
        "prefill": st.fixed_dictionaries(
            {"count": st.just(1)}, optional={"tp": sizes, "context_length": st.just(8192)}
        ),
        "decode": st.fixed_dictionaries({"count": st.just(1)}, optional={"tp": sizes, "page_size": st.just(16)}),
        "router": st.fixed_dictionaries({}, optional={"port": st.just(8123)}),
    }
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.one_of(sglang, bundled, vllm))
def test_what_is_rendered_is_read_back_to_the_same_commands(fields: dict[str, Any]) -> None:
    try:
        deployment = parse_deployment(fields)
        made = document(deployment)
    except (ConfigError, CapacityError):
        return
    result = import_texts([("script.sh", script(made)), *configs(made)])
    assert result.deployment is not None
    again = document(result.deployment)
    # What comes out otherwise is told; nothing differs in silence.
    if not result.findings:
        assert comparable(again) == comparable(made)
    assert [finding.reason for finding in result.findings] == []


def test_a_command_of_thousands_of_words_is_refused_at_once() -> None:
    """A line that goes on where it should end: settling its options against each other took minutes."""
    line = "python3 -m sglang.launch_server --model-path m --port 1 \\\n"
    result = import_text(line * 400)
    assert result.deployment is None
    assert [finding.id for finding in result.findings] == ["lint-too-large"]
