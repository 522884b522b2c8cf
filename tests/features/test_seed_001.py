"""Rows 35 to 61 of the feature table: SGLang and Mooncake on ROCm with Slurm (ROCm/MAD)."""

from __future__ import annotations

from typing import Any

import pytest
from feature_rows import doc, made, row
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.doctor.log import explain_log
from pdpanel.panel.export.formats import FORMATS
from pdpanel.panel.recipes.catalog import find_recipe, render_recipe
from pdpanel.panel.recipes.mad_layouts import DEDICATED_PROXY
from pdpanel.panel.results.parse import parse_results
from pdpanel.presets import describe_preset, load_preset, preset_names

JOB: dict[str, Any] = {
    "engine": "sglang",
    "dialect": "rocm-mad",
    "model": "Qwen3-32B",
    "prefill": {"count": 1},
    "decode": {"count": 1},
    "run": {"image": "sglang_disagg_pd_image"},
    "slurm": {"nodes": ["node[1-3]"], "layout": "dedicated-proxy"},
}
BENCH = """[RUNNING] prompts 16 isl 1024 osl 1024 con 8 model Qwen3-32B xP=1 yD=1
============ Serving Benchmark Result ============
Successful requests:                     16
Benchmark duration (s):                  10.00
Total input tokens:                      16384
Total generated tokens:                  16384
Request throughput (req/s):              1.60
Mean TTFT (ms):                          100.00
Mean ITL (ms):                           10.00
==================================================
"""


def exported(fields: dict[str, Any], format_name: str) -> dict[str, str]:
    deployment = parse_deployment(fields)
    return {file.path: file.text for file in FORMATS[format_name].write(made(fields), deployment)}


@row(35, 46, 52, kind="generator")
def test_a_slurm_job_of_mad() -> None:
    argv = made(JOB).processes[0].argv
    assert argv == ("sbatch", "-N", "3", "-n", "3", "--nodelist=node1,node2,node3", "run_xPyD_models.slurm")
    salloc = render_recipe(
        find_recipe("mad-submit"), ["model_name=Qwen3-32B", "nodes=node1,node2,node3", "submit=salloc"]
    )
    assert any("salloc" in command.argv for command in salloc.commands)


@row(36, kind="sentence")
def test_the_image_and_its_base_are_named() -> None:
    assert "v0.5.2rc1-rocm700-mi30x" in DEDICATED_PROXY.base_image
    assert "v0.5.2rc1-rocm700" in doc("docs/pd-serving.md")


@row(37, kind="sentence")
def test_the_documents_wrong_link_is_noted() -> None:
    assert "v0.4.9.post1-rocm630" in doc("docs/pd-serving.md")


@row(38, kind="check")
def test_the_number_of_nodes() -> None:
    with pytest.raises(ConfigError):
        made({**JOB, "slurm": {"nodes": ["node[1-2]"], "layout": "dedicated-proxy"}})
    today = made({**JOB, "slurm": {"nodes": ["node[1-2]"]}})
    assert "2" in today.processes[0].argv


@row(39, 40, kind="sentence")
def test_what_a_slurm_job_needs_is_said_where_it_is_exported() -> None:
    files = exported(JOB, "slurm")
    text = " ".join(" ".join(files.values()).split())
    assert "sbatch" in text and "docker" in text
    assert "shared file system" in doc("docs/pd-serving.md")


@row(41, 53, 54, 55, 56, kind="generator")
def test_logs_lie_in_a_shared_folder_by_job() -> None:
    plan = made({**JOB, "slurm": {**JOB["slurm"], "log_path": "/shared/logs"}})
    assert plan.env["LOG_PATH"] == "/shared/logs"
    post = render_recipe(
        find_recipe("mad-post-run"), ["log_path=/shared/logs", "job_id=1234", "benchmark_log=x_CONCURRENCY.log"]
    )
    assert any("/shared/logs/1234/x_CONCURRENCY.log" in command.argv for command in post.commands)
    for name in ("pd_sglang_bench_serving.sh_NODE", "etcd_NODE", "prefill_NODE", "decode_NODE"):
        assert name in doc("docs/pd-serving.md")


@row(42, kind="preset")
def test_the_documents_models() -> None:
    for name in (
        *("Llama-3.1-8B-Instruct", "Llama-3.1-405B-Instruct-FP8-KV", "amd-Llama-3.3-70B-Instruct-FP8-KV"),
        *("Qwen3-32B", "DeepSeek-V2", "Mixtral-8x7B-v0.1"),
    ):
        assert made({**JOB, "model": name}).env["MODEL_NAME"] == name
    assert made({**JOB, "model": "no-such-model"}).findings
    hardware = [describe_preset(name).hardware for name in preset_names()]
    assert sum("MI300X" in text for text in hardware) >= 7


@row(43, kind="check")
def test_a_gated_model_is_explained() -> None:
    line = "huggingface_hub.errors.GatedRepoError: 401 Client Error. Cannot access gated repo for url"
    assert explain_log([line], "prefill.log").findings
    assert "licence" in doc("docs/pd-serving.md")


@row(44, 45, kind="generator")
def test_the_image_is_built_from_mads_repository() -> None:
    commands = [command.argv for command in render_recipe(find_recipe("mad-docker-build"), []).commands]
    assert ("git", "clone", "https://github.com/ROCm/MAD.git") in commands
    assert any(argv[:2] == ("docker", "build") for argv in commands)


@row(47, kind="sentence")
def test_the_entry_point_in_the_container_is_described() -> None:
    text = doc("docs/pd-serving.md")
    assert "sglang_disagg_server.sh" in text and "NODE_RANK" in text


@row(48, 60, 61, kind="sentence")
def test_benchmarks_and_guides_have_their_links() -> None:
    text = doc("docs/pd-serving.md")
    assert "GSM8K" in text and "blog_v0_2" in text and "mi300x.html" in text


@row(49, 57, kind="check")
def test_results_are_read() -> None:
    observed = parse_results(BENCH.encode(), "benchmark_1_CONCURRENCY.log")
    assert [(result.concurrency, result.input_length) for result in observed.results] == [(8, 1024)]


@row(50, kind="sentence")
def test_the_folder_has_one_spelling() -> None:
    assert "sglang_dissag" in doc("docs/pd-serving.md")
    assert made(JOB).processes[0].cwd == "MAD/scripts/sglang_disagg"


@row(51, kind="generator")
def test_variables_of_the_job() -> None:
    expected = {"DOCKER_IMAGE_NAME": "sglang_disagg_pd_image", "xP": "1", "yD": "1", "MODEL_NAME": "Qwen3-32B"}
    assert made(JOB).env == expected


@row(58, kind="generator")
def test_a_request_to_the_proxy() -> None:
    commands = render_recipe(
        find_recipe("mad-post-run"),
        ["log_path=/l", "job_id=1", "benchmark_log=b_CONCURRENCY.log", "layout=dedicated-proxy"],
    ).commands
    request = next(command for command in commands if command.role == "smoke-test")
    assert "http://127.0.0.1:30000/generate" in request.argv


@row(59, kind="check")
def test_the_known_transfer_error_is_found() -> None:
    line = "TransferEncodingError: 400, message='Not enough data to satisfy transfer length header.'"
    observed = parse_results((BENCH + line + "\n").encode(), "b_CONCURRENCY.log")
    assert observed.transfer_errors.count == 1
    assert "TransferEncodingError" in doc("docs/pd-serving.md")


def test_the_job_is_a_preset_too() -> None:
    assert load_preset("mad-deepseek-v3-slurm")["dialect"] == "rocm-mad"
