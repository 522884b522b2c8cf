"""Rules on the options and variables of one process: each fires on its condition and not beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from pdpanel.nic_probe.finding import Finding, Severity
from pdpanel.panel.doctor import agreement_flags
from pdpanel.panel.doctor.agreement import check_agreement
from pdpanel.panel.doctor.command import parse_script

Table = Callable[[Iterable[Finding]], dict[str, Finding]]
ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO

P = "python -m sglang.launch_server --disaggregation-mode prefill "
D = "python -m sglang.launch_server --disaggregation-mode decode --port 30001 --base-gpu-id 1 "
OLD = "docker run lmsysorg/sglang:v0.5.9 "
NEW = "docker run lmsysorg/sglang:v0.5.23 "
V0 = """vllm serve m --kv-transfer-config '{"kv_connector":"MooncakeConnector","kv_role":"kv_producer","kv_rank":0}'"""
V1 = """vllm serve m --kv-transfer-config '{"kv_connector":"MooncakeConnector","kv_role":"kv_producer"}'"""
CONSUMER = V1.replace("producer", "consumer")

FIRES: list[tuple[str, Severity, str]] = [
    ("flag-twice", ERROR, P + "--port 30000 --port 30010"),
    ("flag-gone", ERROR, NEW + P + "--stream-output"),
    ("flag-gone", WARNING, P + "--stream-output"),
    ("flag-gone", ERROR, P + "--disaggregation-transport rdma"),
    ("flag-gone", ERROR, OLD + P + "--attn-dp-size 8"),
    ("flag-gone", INFO, P + "--disable-cuda-graph"),
    ("mini-lb-gone", ERROR, "python -m sglang.srt.disaggregation.mini_lb --prefill http://a:1 --decode http://a:2"),
    ("vllm-v0-kv-config", ERROR, V0),
    ("config-path-ignored", WARNING, "MOONCAKE_CONFIG_PATH=./m.json " + P),
    ("config-path-ignored", WARNING, "MOONCAKE_CONFIG_PATH=./m.json " + V1),
    ("metadata-server-kind", ERROR, "MOONCAKE_TE_META_DATA_SERVER=redis://a:6379 " + P),
    ("metadata-server-kind", WARNING, "MOONCAKE_TE_META_DATA_SERVER=etcd://a:2379 " + P),
    ("variable-presence", ERROR, "MC_FORCE_TCP=0 " + P),
    ("variable-presence", ERROR, "MC_FORCE_MNNVL=false " + P),
    ("variable-presence", WARNING, "MC_FORCE_TCP=true " + P),
    ("decode-radix-cache", ERROR, D + "--disaggregation-decode-enable-radix-cache --disable-radix-cache"),
    ("decode-radix-cache", ERROR, D + "--disaggregation-decode-enable-radix-cache --speculative-algorithm NGRAM"),
    ("decode-radix-cache", WARNING, D + "--enable-hierarchical-cache"),
    ("decode-radix-cache", INFO, P + "--disaggregation-decode-enable-radix-cache"),
    ("transfer-backend-unusable", ERROR, P + "--disaggregation-transfer-backend fake"),
    ("transfer-backend-unusable", ERROR, OLD + P + "--disaggregation-transfer-backend mooncake_tcp"),
    ("engine-metrics-off", INFO, f"{P}\n{D}"),
    ("engine-metrics-off", INFO, f"{V1}\n{CONSUMER}"),
]
SILENT: list[tuple[str, str]] = [
    ("flag-twice", P + "--port 30000 --port 30000"),
    ("flag-twice", "sglang-router --pd-disaggregation --decode http://a:1 --decode http://a:2"),
    ("flag-gone", OLD + P + "--stream-output"),
    ("flag-gone", NEW + P + "--attn-dp-size 8"),
    ("flag-gone", P + "--incremental-streaming-output"),
    ("mini-lb-gone", "python -m sglang_router.launch_router --pd-disaggregation --mini-lb"),
    ("vllm-v0-kv-config", V1),
    ("config-path-ignored", P),
    ("config-path-ignored", "MOONCAKE_CONFIG_PATH=x vllm serve m"),
    ("metadata-server-kind", "MOONCAKE_TE_META_DATA_SERVER=http://a:8080/metadata " + P),
    ("variable-presence", "MC_FORCE_TCP=1 " + P),
    ("decode-radix-cache", D + "--disaggregation-decode-enable-radix-cache --speculative-algorithm EAGLE"),
    ("decode-radix-cache", P + "--enable-hierarchical-cache"),
    ("transfer-backend-unusable", P + "--disaggregation-transfer-backend mooncake_tcp"),
    ("transfer-backend-unusable", D + "--disaggregation-transfer-backend fake"),
    ("engine-metrics-off", f"{P}--enable-metrics\n{D}--enable-metrics"),
    ("engine-metrics-off", P),
]


@pytest.mark.parametrize(("rule", "severity", "script"), FIRES)
def test_a_rule_fires(rule: str, severity: Severity, script: str, by_id: Table) -> None:
    finding = by_id(check_agreement(parse_script(script)))[rule]
    assert finding.severity is severity
    assert finding.remedy


@pytest.mark.parametrize(("rule", "script"), SILENT)
def test_a_rule_is_silent(rule: str, script: str, by_id: Table) -> None:
    assert rule not in by_id(check_agreement(parse_script(script)))


def test_every_rule_is_tried() -> None:
    rules = {check.rule.id for check in agreement_flags.CHECKS}
    assert {row[0] for row in FIRES} == {row[0] for row in SILENT} == rules


def test_the_router_that_replaces_mini_lb_is_written_out(by_id: Table) -> None:
    script = "python -m sglang.srt.disaggregation.mini_lb --prefill http://a:1,http://b:1 --decode http://a:2"
    corrected = by_id(check_agreement(parse_script(script)))["mini-lb-gone"].corrected
    expected = "--pd-disaggregation --prefill http://a:1 --prefill http://b:1 --decode http://a:2"
    assert corrected == f"python -m sglang_router.launch_router {expected}"


def test_the_configuration_of_vllm_is_written_out(by_id: Table) -> None:
    corrected = by_id(check_agreement(parse_script(V0)))["vllm-v0-kv-config"].corrected
    assert corrected == '{"kv_connector":"MooncakeConnector","kv_role":"kv_producer"}'


def test_a_masked_key_is_not_shown_by_the_rule_on_doubled_options() -> None:
    findings = check_agreement(parse_script(P + "--api-key s3cret --api-key other"))
    assert "s3cret" not in str(findings)
