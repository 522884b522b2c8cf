"""Rules on what prefill and decode have to agree on: each fires on its condition and not beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from pdpanel.nic_probe.finding import Finding, Severity
from pdpanel.panel.doctor import agreement_pair
from pdpanel.panel.doctor.agreement import check_agreement
from pdpanel.panel.doctor.command import parse_script
from pdpanel.panel.doctor.log_arguments import arguments_of_log

Table = Callable[[Iterable[Finding]], dict[str, Finding]]

_SGLANG = "python -m sglang.launch_server --model-path org/m --host {host} --disaggregation-mode {mode} --port {port} "


def pair(prefill: str = "", decode: str = "", env: tuple[str, str] = ("", "")) -> str:
    """Returns the script of a pair on two hosts with these options."""
    return "\n".join(
        (
            env[0] + _SGLANG.format(host="10.0.0.1", mode="prefill", port=30000) + prefill,
            env[1] + _SGLANG.format(host="10.0.0.2", mode="decode", port=30001) + decode,
        )
    )


def vllm(role: str, options: str = "", connector: str = "MooncakeConnector") -> str:
    return (
        f"""vllm serve org/m {options} --kv-transfer-config '{{"kv_connector":"{connector}","kv_role":"{role}"}}'\n"""
    )


ERROR, WARNING = Severity.ERROR, Severity.WARNING
FIRES: list[tuple[str, Severity, str]] = [
    ("pd-page-size", ERROR, pair("--page-size 64", "--page-size 1")),
    ("pd-page-size", WARNING, pair("--page-size 64")),
    ("pd-page-size", ERROR, vllm("kv_producer", "--block-size 16") + vllm("kv_consumer", "--block-size 32")),
    ("pd-tensor-parallel", WARNING, pair("--tp 2", "--tp 4")),
    ("pd-tensor-parallel", ERROR, pair("--tp 2", "--tp 3")),
    (
        "pd-tensor-parallel",
        ERROR,
        pair("--tp 4 --disaggregation-transfer-backend nixl", "--tp 2 --disaggregation-transfer-backend nixl"),
    ),
    ("pd-tensor-parallel", WARNING, pair("--tp 8 --dp-size 4 --enable-dp-attention", "--tp 8")),
    ("pd-kv-dtype", ERROR, pair("--kv-cache-dtype fp8_e4m3")),
    ("pd-kv-dtype", ERROR, pair("--kv-cache-dtype fp8_e4m3", "--kv-cache-dtype bfloat16")),
    ("pd-kv-dtype", WARNING, pair("--kv-cache-dtype bfloat16")),
    ("pd-kv-dtype", ERROR, pair("--dtype float16", "--dtype bfloat16")),
    ("pd-state-dtype", ERROR, pair("--mamba-ssm-dtype float32", "--mamba-ssm-dtype bfloat16")),
    ("pd-model", ERROR, pair("--model-path org/other")),
    ("pd-model", ERROR, pair("--revision a", "--revision b")),
    ("pd-model", WARNING, pair("--quantization fp8", "--quantization awq")),
    ("pd-model", WARNING, pair("--served-model-name a", "--served-model-name b")),
    ("pd-context-length", ERROR, pair("--context-length 8192", "--context-length 4096")),
    ("pd-transfer-backend", ERROR, pair("--disaggregation-transfer-backend nixl")),
    (
        "pd-mode",
        ERROR,
        _SGLANG.format(host="127.0.0.1", mode="prefill", port=1) * 1 + "\npython -m sglang.launch_server",
    ),
    (
        "pd-mode",
        ERROR,
        "python -m sglang.launch_server\npython -m sglang.launch_server --port 30001\n"
        "python -m sglang_router.launch_router --pd-disaggregation --port 8000 "
        "--prefill http://127.0.0.1:30000 --decode http://127.0.0.1:30001",
    ),
    (
        "pd-mode",
        WARNING,
        _SGLANG.format(host="127.0.0.1", mode="decode", port=1)
        + "\n"
        + _SGLANG.format(host="127.0.0.1", mode="decode", port=2),
    ),
    ("pd-both-sides", WARNING, pair("--disaggregation-enable-kv-checksum")),
    ("pd-both-sides", WARNING, pair(env=("MC_FORCE_MNNVL=1 ", ""))),
    (
        "pd-versions",
        WARNING,
        pair(env=("docker run lmsysorg/sglang:v0.5.9 ", "docker run lmsysorg/sglang:v0.5.23 ")),
    ),
    ("pd-versions", ERROR, pair().splitlines()[0] + "\n" + vllm("kv_consumer")),
]
SILENT: list[tuple[str, str]] = [
    ("pd-page-size", pair("--page-size 64", "--page-size 64")),
    ("pd-page-size", pair()),
    ("pd-tensor-parallel", pair("--tp 4", "--tp 4")),
    ("pd-tensor-parallel", pair("--tp 2 --model deepseek-ai/DeepSeek-V3", "--tp 4 --model deepseek-ai/DeepSeek-V3")),
    ("pd-tensor-parallel", pair("--tp 8 --attn-dp-size 4", "--tp 2")),
    ("pd-tensor-parallel", pair("--tp-size 3", "--tp-size 2").replace("sglang.launch", "pdpanel.engine.launch")),
    ("pd-kv-dtype", pair("--kv-cache-dtype fp8_e4m3", "--kv-cache-dtype fp8_e4m3")),
    ("pd-kv-dtype", pair("--kv-cache-dtype auto")),
    ("pd-state-dtype", pair()),
    ("pd-model", pair("--model-path /data/a/m", "--model-path /mnt/b/m")),
    ("pd-model", pair("--served-model-name a", "--served-model-name a")),
    ("pd-context-length", pair("--context-length 4096", "--context-length 8192")),
    ("pd-context-length", pair("--context-length 4096")),
    ("pd-transfer-backend", pair("--disaggregation-transfer-backend mooncake")),
    ("pd-mode", pair()),
    ("pd-mode", "python -m sglang.launch_server\npython -m sglang.launch_server --port 30001"),
    ("pd-mode", _SGLANG.format(host="10.0.0.1", mode="prefill", port=1)),
    ("pd-both-sides", pair("--disaggregation-enable-kv-checksum", "--disaggregation-enable-kv-checksum")),
    ("pd-versions", pair()),
    (
        "pd-versions",
        pair(env=("docker run lmsysorg/sglang:v0.5.9 ", "docker run lmsysorg/sglang:v0.5.9 ")),
    ),
]


@pytest.mark.parametrize(("rule", "severity", "script"), FIRES)
def test_a_rule_fires(rule: str, severity: Severity, script: str, by_id: Table) -> None:
    finding = by_id(check_agreement(parse_script(script)))[rule]
    assert finding.severity is severity
    assert finding.evidence
    assert finding.remedy


@pytest.mark.parametrize(("rule", "script"), SILENT)
def test_a_rule_is_silent(rule: str, script: str, by_id: Table) -> None:
    assert rule not in by_id(check_agreement(parse_script(script)))


def test_every_rule_is_tried() -> None:
    rules = {check.rule.id for check in agreement_pair.CHECKS}
    assert {row[0] for row in FIRES} == {row[0] for row in SILENT} == rules


def test_logs_are_compared_as_commands_are(by_id: Table) -> None:
    prefill = "server_args={'model_path': 'm', 'page_size': 64, 'disaggregation_mode': 'prefill', 'host': '10.0.0.1', 'port': 1}"
    decode = prefill.replace("'page_size': 64", "'page_size': 1").replace("prefill", "decode").replace("0.1", "0.2")
    workers = (*arguments_of_log([prefill], "p.log"), *arguments_of_log([decode], "d.log"))
    finding = by_id(check_agreement(workers))["pd-page-size"]
    assert [evidence.source for evidence in finding.evidence] == ["p.log:1", "d.log:1"]


def test_what_a_log_does_not_tell_is_no_difference() -> None:
    ready = '{"event": "ready", "address": "127.0.0.1:%d", "role": "%s", "model": "m"}'
    workers = (
        *arguments_of_log([ready % (30000, "prefill")], "p0.log"),
        *arguments_of_log([ready % (30001, "prefill")], "p1.log"),
        *arguments_of_log([ready % (30002, "decode")], "d.log"),
    )
    assert check_agreement(workers) == ()


def test_nothing_to_compare_is_no_finding() -> None:
    assert check_agreement(()) == ()
