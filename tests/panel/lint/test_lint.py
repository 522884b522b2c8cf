"""What lint finds in pasted text: each finding fires on its condition and not beside it, and what it puts right."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from pdpanel.nic_probe.finding import Finding, Severity
from pdpanel.panel.lint.kind import MOST_CHARACTERS
from pdpanel.panel.lint.lint import LintReport, lint_text

CASES = Path(__file__).resolve().parents[4] / "shared" / "golden" / "launch_commands.json"
ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
P = "python -m sglang.launch_server --model-path m --disaggregation-mode prefill --port 30000"
D = "python -m sglang.launch_server --model-path m --disaggregation-mode decode --port 30001 --base-gpu-id 1"
R = "python -m sglang_router.launch_router --pd-disaggregation"
PAIR = " --prefill http://127.0.0.1:30000 --decode http://127.0.0.1:30001"
EP = P.replace("--port", "--tp-size 8 --dp-size 8 --moe-a2a-backend mooncake --port")
KV = '{"kv_connector":"MooncakeConnector","kv_role":"kv_producer"}'
OLD = (
    '{"kv_connector":"MooncakeConnector","kv_role":"kv_producer","kv_rank":0,"kv_parallel_size":2,"kv_buffer_size":2e9}'
)


def found(text: str, engine_version: str = "") -> dict[str, Finding]:
    """Returns the findings of a text by their id, the gravest of each."""
    by_id: dict[str, Finding] = {}
    for finding in lint_text(text, "input", engine_version).findings:
        by_id.setdefault(finding.id, finding)
    return by_id


FIRES: list[tuple[str, Severity, str, str]] = [
    ("router-options", ERROR, f"{R} --prefill http://a:1,http://b:1 8998 --decode http://c:1", ""),
    ("router-options", ERROR, "--decode http://a:1,http://b:1", ""),
    ("dp-without-attention", ERROR, EP, ""),
    (
        "mini-lb-gone",
        ERROR,
        "python3 -m sglang.srt.disaggregation.mini_lb --prefill http://a:1 --decode http://b:1",
        "",
    ),
    ("mini-lb-gone", ERROR, "python3 -m sglang.srt.disaggregation.mini_lb --prefill http://a:1", "0.5.2"),
    ("config-path-ignored", WARNING, f"MOONCAKE_CONFIG_PATH=./m.json {P}", "0.5.23"),
    ("vllm-v0-kv-config", ERROR, f"vllm serve m --kv-transfer-config '{OLD}'", "0.33.0"),
    ("vllm-kv-config", ERROR, '--kv-transfer-config \'{"kv_conector":"MooncakeConnector","kv_role":"kv_both"}\'', ""),
    ("vllm-kv-config", ERROR, '--kv-transfer-config \'{"kv_connector":"X","kv_role":"producer"}\'', ""),
    ("variable-presence", ERROR, "MC_FORCE_MNNVL=0", ""),
    ("variable-presence", ERROR, f"export MC_USE_IPV6=false\n{P}", ""),
    ("variable-presence", ERROR, f"MC_LEGACY_RPC_PORT_BINDING=0 {P}", ""),
    ("variable-unread", WARNING, f"MC_INTRA_NVLINK=1 {P}", ""),
    ("port-clash", WARNING, f"{P}\n{R}{PAIR}", ""),
    ("bootstrap-port-clash", ERROR, f"{P} --host 10.0.0.1\n{P} --host 10.0.0.1 --port 30005", ""),
    ("bootstrap-port-mismatch", ERROR, f"{P} --disaggregation-bootstrap-port 9001\n{D}\n{R}{PAIR} --port 8000", ""),
    ("flag-abbreviated", INFO, f"{P} --tp 2", ""),
    ("flag-gone", ERROR, f"{P} --disaggregation-transport rdma", ""),
    ("flag-unknown", ERROR, f"{P} --tensor-paralel-sise 2", "0.5.23"),
    ("flag-unknown", ERROR, f"{P} --enable-dp", "0.5.23"),
    ("host-loopback", ERROR, f"{P} --nnodes 2 --node-rank 0 --dist-init-addr 10.0.0.1:5000", ""),
    ("ib-device-map", ERROR, P + ' --tp-size 2 --disaggregation-ib-device \'{"0":"mlx5_0"}\'', ""),
    ("ib-device-map", ERROR, '{"0": "mlx5_0", "gpu1": "mlx5_1"}', ""),
    ("option-json", ERROR, P + ' --disaggregation-ib-device {"0":"mlx5_0"}', ""),
    ("option-json", ERROR, 'vllm serve m --kv-transfer-config {"kv_connector":"X","kv_role":"kv_both"}', ""),
    ("encoder-exclusive", ERROR, P.replace("--port", "--encoder-only --port"), ""),
    ("encoder-exclusive", ERROR, "--encoder-only --language-only", ""),
    ("encoder-urls-joined", ERROR, f"{P} --language-only --encoder-urls http://a:1,http://b:2", ""),
    ("thread-pool-queue", ERROR, f"SGLANG_DISAGGREGATION_THREAD_POOL_SIZE=2 {P}", ""),
    ("thread-pool-queue", ERROR, f"SGLANG_DISAGGREGATION_QUEUE_SIZE=16 {P}", ""),
    (
        "pd-mode",
        WARNING,
        f"vllm serve m --kv-transfer-config '{KV}'\nvllm serve m --port 1 --kv-transfer-config '{KV}'",
        "",
    ),
    ("pd-page-size", ERROR, f"{P} --page-size 64\n{D} --page-size 32", ""),
    ("deployment-runs-code", WARNING, f"LD_PRELOAD=/x.so {P}", ""),
    ("deployment-runs-code", WARNING, f"{P} --trust-remote-code", ""),
    ("lint-nothing", ERROR, "nothing of the kind", ""),
    ("lint-json", ERROR, "{'kv_connector': 'X', 'kv_role': 'kv_both',}", ""),
    ("lint-deployment", ERROR, "version: 1\nengine: sglang\nmodel: m\nprefill: {count: -1}\n", ""),
]
SILENT: list[tuple[str, str, str]] = [
    ("router-options", f"{R} --prefill http://a:1 8998 --decode http://b:1 --decode http://c:1", ""),
    ("router-options", "--decode http://a:1 --decode http://b:1", ""),
    ("dp-without-attention", EP.replace("--dp-size 8", "--dp-size 8 --enable-dp-attention"), ""),
    ("mini-lb-gone", f"{R} --mini-lb{PAIR}", ""),
    ("mini-lb-gone", "python3 -m sglang.srt.disaggregation.mini_lb --prefill http://a:1", "0.4.5.post1"),
    ("config-path-ignored", f"MOONCAKE_CONFIG_PATH=./m.json {P}", "0.4.5.post1"),
    ("vllm-v0-kv-config", f"vllm serve m --kv-transfer-config '{OLD}'", "0.6.4.post1"),
    ("vllm-v0-kv-config", f"vllm serve m --kv-transfer-config '{KV}'", "0.33.0"),
    ("vllm-kv-config", f"--kv-transfer-config '{KV}'", ""),
    ("variable-presence", "MC_FORCE_MNNVL=1", ""),
    ("variable-unread", f"MC_INTRANODE_NVLINK=1 {P}", ""),
    ("port-clash", f"{P}\n{R}{PAIR} --port 8000", ""),
    ("bootstrap-port-clash", f"{P} --host 10.0.0.1\n{P} --host 10.0.0.2", ""),
    ("bootstrap-port-mismatch", f"{P}\n{D}\n{R}{PAIR} --port 8000", ""),
    ("flag-abbreviated", f"{P} --tp-size 2", ""),
    ("flag-unknown", f"{P} --tp-size 2", "0.5.23"),
    ("host-loopback", f"{P} --host 10.0.0.1 --nnodes 2 --node-rank 0 --dist-init-addr 10.0.0.1:5000", ""),
    ("ib-device-map", P + ' --tp-size 2 --disaggregation-ib-device \'{"0":"mlx5_0","1":"mlx5_1"}\'', ""),
    ("option-json", f"vllm serve m --kv-transfer-config '{KV}'", ""),
    ("option-json", 'vllm serve m --kv-transfer-config "$CONFIG"', ""),
    ("encoder-exclusive", "--encoder-only --port 30002", ""),
    ("encoder-urls-joined", f"{P} --language-only --encoder-urls http://a:1 http://b:2", ""),
    ("thread-pool-queue", f"SGLANG_DISAGGREGATION_THREAD_POOL_SIZE=12 SGLANG_DISAGGREGATION_QUEUE_SIZE=4 {P}", ""),
    ("pd-page-size", f"{P} --page-size 64\n{D} --page-size 64", ""),
    ("lint-deployment", "version: 1\nengine: sglang\nmodel: m\nprefill: {count: 1}\ndecode: {count: 1}\n", ""),
]


@pytest.mark.parametrize(("rule", "severity", "text", "version"), FIRES)
def test_it_is_found(rule: str, severity: Severity, text: str, version: str) -> None:
    finding = found(text, version)[rule]
    assert finding.severity is severity
    assert finding.reason and finding.evidence


@pytest.mark.parametrize(("rule", "text", "version"), SILENT)
def test_it_is_not_found_where_all_is_well(rule: str, text: str, version: str) -> None:
    assert rule not in found(text, version)


CORRECTED: list[tuple[str, str, str]] = [
    ("--decode http://a:1,http://b:1", "", "--decode http://a:1 --decode http://b:1"),
    (f"{R} --prefill http://a:1,http://b:1 8998", "", f"{R} --prefill http://a:1 8998 --prefill http://b:1 8998"),
    (EP, "", EP.replace("--dp-size 8", "--dp-size 8 --enable-dp-attention")),
    (EP, "0.5.23", EP.replace("--dp-size 8", "--attn-dp-size 8")),
    (
        "python3 -m sglang.srt.disaggregation.mini_lb --prefill http://a:1,http://b:1 --decode http://c:1 --port 8000",
        "",
        "python3 -m sglang_router.launch_router --pd-disaggregation --prefill http://a:1 --prefill http://b:1 "
        "--decode http://c:1 --port 8000",
    ),
    (f"vllm serve m --kv-transfer-config '{OLD}'", "", f"vllm serve m --kv-transfer-config '{KV}'"),
    (f"vllm serve m --kv-transfer-config {KV}", "", f"vllm serve m --kv-transfer-config '{KV}'"),
    (f'vllm serve m --kv-transfer-config "{KV}"', "", f"vllm serve m --kv-transfer-config '{KV}'"),
    (f"MC_FORCE_MNNVL=0 A='b c' {P}", "", f"A='b c' {P}"),
    (f"export MC_FORCE_MNNVL=0\n# kept\n{P}\n", "", f"# kept\n{P}\n"),
    (f"docker run -e MC_FORCE_TCP=0 --gpus all img {P}", "", f"docker run --gpus all img {P}"),
    (f"MC_INTRA_NVLINK=1 {P}", "", f"MC_INTRANODE_NVLINK=1 {P}"),
    (
        f"{P} \\\n  --tp 2 \\\n  --trust-remote-code > log 2>&1 &\n",
        "",
        f"{P} \\\n  --tp-size 2 \\\n  --trust-remote-code > log 2>&1 &\n",
    ),
    (f"{P}\n{R}{PAIR} # last\n", "", f"{P}\n{R}{PAIR} --port 8000 # last\n"),
    ("--encoder-urls http://a:1,http://b:2", "", "--encoder-urls http://a:1 http://b:2"),
    (f"{P} --stream-output", "0.5.23", f"{P} --incremental-streaming-output"),
    (f"ssh node1 'MC_FORCE_MNNVL=0 {P}'", "", f"ssh node1 {shlex.quote(P)}"),
]


@pytest.mark.parametrize(("text", "version", "right"), CORRECTED)
def test_it_is_put_right_and_the_rest_stays(text: str, version: str, right: str) -> None:
    report = lint_text(text, "input", version)
    assert report.corrected == right
    assert lint_text(right, "input", version).corrected is None


def test_what_is_right_is_left_alone() -> None:
    text = f"# a script\n{P} --enable-metrics\n{D} --enable-metrics\n{R}{PAIR} --port 8000\n"
    report = lint_text(text)
    assert report == LintReport("shell", report.findings, None)
    assert [finding for finding in report.findings if finding.severity is ERROR] == []


def test_a_second_prefill_of_a_host_gets_its_own_port_and_the_router_knows_it() -> None:
    text = "\n".join(
        [
            f"{P} --host 10.0.0.1",
            f"{P} --host 10.0.0.1 --port 30005 --base-gpu-id 1".replace("--port 30000 ", ""),
            f"{R} --prefill http://10.0.0.1:30000 8998 --prefill http://10.0.0.1:30005 8998 --port 8000",
        ]
    )
    corrected = lint_text(text).corrected or ""
    assert "--disaggregation-bootstrap-port 8999" in corrected
    assert "--prefill http://10.0.0.1:30005 8999" in corrected


def test_only_the_beginning_of_a_huge_text_is_read() -> None:
    report = lint_text(f"{P}\n" + "#" * MOST_CHARACTERS)
    assert {finding.id for finding in report.findings} >= {"lint-too-large"}
    assert report.corrected is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f"#!/bin/bash\n#SBATCH -N 2\nsrun {P}\n", "slurm"),
        (KV, "kv-transfer-config"),
        ('{"0": "mlx5_0"}', "ib-device-map"),
        ('{"local_hostname": "a", "metadata_server": "P2PHANDSHAKE"}', "mooncake-config"),
        ("{ echo a; }", "unknown"),
        ("[ -f x ] && vllm serve m", "shell"),
        ("", "unknown"),
        ("a\0b", "unknown"),
        ('"text"', "unknown"),
    ],
)
def test_the_kind_is_recognised(text: str, kind: str) -> None:
    assert lint_text(text).kind == kind


def _case(name: str) -> dict[str, Any]:
    if not CASES.exists():
        pytest.skip("shared/golden is not beside the checkout")
    return next(case for case in json.loads(CASES.read_text("utf-8")) if case["id"] == name)


def _script(case: dict[str, Any]) -> str:
    return "\n".join(shlex.join(command["argv"]) for command in case["commands"])


def test_the_published_lint_cases_are_corrected() -> None:
    joined = _case("s003-1p2d-seed-literal")
    report = lint_text(shlex.join(joined["inputs"]["argv_in"]))
    assert shlex.split(report.corrected or "") == joined["commands"][0]["argv"]
    literal = _script(_case("s003-ep-mooncake-seed-literal"))
    assert lint_text(literal).corrected == _script(_case("s003-ep-mooncake-dp-attention"))
    assert lint_text(literal, engine_version="0.5.23").corrected == _script(_case("s003-ep-mooncake-attn-dp"))
    assert "64 GPUs" in found(literal)["dp-without-attention"].reason
