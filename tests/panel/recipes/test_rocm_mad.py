from __future__ import annotations

import json

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.nic_probe import Severity

from .rendering import argvs, ids, render

OLD = ("nodes=a,b,c", "model_name=Qwen3-32B")
TODAY = ("nodes=a,b", "model_name=DeepSeek-V3", "layout=colocated-router")


def test_a_proxy_takes_one_more_node() -> None:
    rendered = render("mad-submit", "xP=2", "yD=3", "nodes=n[1-6]", "model_name=Qwen3-32B")
    (submit,) = argvs(rendered)
    assert submit == ["sbatch", "-N", "6", "-n", "6", "--nodelist=n1,n2,n3,n4,n5,n6", "run_xPyD_models.slurm"]
    assert (rendered.env["xP"], rendered.env["yD"]) == ("2", "3")
    assert "RUN_MORI" not in rendered.env


def test_a_shared_node_does_not() -> None:
    rendered = render("mad-submit", "xP=2", "yD=1", "nodes=n3,n1,n2", "model_name=DeepSeek-R1", TODAY[2])
    submit, ask = rendered.commands
    assert submit.argv[1:5] == ("-N", "3", "-n", "3")
    assert ask.node == "n1", "ranks follow the order of names"
    assert json.loads(ask.argv[-1]) == {"text": "Let me tell you a story", "sampling_params": {"temperature": 0.3}}
    assert "mad-layout" not in ids(rendered)


@pytest.mark.parametrize(
    ("texts", "needed"),
    [(["xP=1", "yD=1"], 3), (["xP=4", "yD=2"], 7), (["xP=4", "yD=2", "layout=colocated-router"], 6)],
)
def test_too_few_nodes(texts: list[str], needed: int) -> None:
    render("mad-submit", *texts, f"nodes=n[1-{needed}]", "model_name=Qwen3-32B")
    with pytest.raises(ConfigError, match=f"names {needed - 1}, but {needed} are needed") as caught:
        render("mad-submit", *texts, f"nodes=n[1-{needed - 1}]", "model_name=Qwen3-32B")
    assert caught.value.field == "nodes"


def test_nodes_to_spare_are_left_out() -> None:
    rendered = render("mad-submit", "nodes=a,b,c,d", TODAY[2], "model_name=Qwen3-32B")
    assert "--nodelist=a,b" in rendered.commands[0].argv
    (spare,) = [finding for finding in rendered.findings if finding.id == "mad-spare-nodes"]
    assert "c, d" in spare.reason


def test_salloc_brings_what_sbatch_reads_in_the_script() -> None:
    (old,) = argvs(render("mad-submit", *OLD, "submit=salloc"))
    assert old[0] == "salloc"
    assert {"--spread-job", "--ntasks-per-node=1", "--gres=gpu:8"} <= set(old)
    assert old[-2:] == ["bash", "run_xPyD_models.slurm"]
    assert "--switches=2" in argvs(render("mad-submit", *TODAY, "submit=salloc"))[0]


def test_todays_switches() -> None:
    texts = ["run_mori=1", "dp_mode=1", "use_cx7_nics=no", "model_dir=/m", "skip_benchmark=1", "log_path=/l"]
    env = render("mad-submit", *TODAY, *texts).env
    expected = {"RUN_MORI": "1", "DP_MODE": "1", "USE_CX7_NICS": "0", "MODEL_DIR": "/m", "SKIP_BENCHMARK": "1"}
    assert env.items() >= {**expected, "LOG_PATH": "/l"}.items()


@pytest.mark.parametrize("text", ["run_mori=0", "dp_mode=1", "use_cx7_nics=1", "model_dir=/m", "skip_benchmark=0"])
def test_old_scripts_do_not_know_them(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        render("mad-submit", *OLD, text)
    assert caught.value.field == text.partition("=")[0]


@pytest.mark.parametrize(
    ("model", "severity", "corrected"),
    [
        ("Qwen3-32B", None, None),
        ("Qwen/Qwen3-32B", Severity.ERROR, "Qwen3-32B"),
        ("amd/Llama-3.3-70B-Instruct-FP8-KV", Severity.ERROR, "amd-Llama-3.3-70B-Instruct-FP8-KV"),
        ("GPT-OSS-120B", Severity.WARNING, None),
    ],
)
def test_the_name_of_a_folder(model: str, severity: Severity | None, corrected: str | None) -> None:
    rendered = render("mad-submit", "nodes=a,b,c", f"model_name={model}")
    found = [finding for finding in rendered.findings if finding.id == "mad-model-name"]
    assert [(finding.severity, finding.corrected) for finding in found] == ([(severity, corrected)] if severity else [])
    assert rendered.env["MODEL_NAME"] == model


@pytest.mark.parametrize("model", ["a b", "a\nb", "-a", "$(id)", "a/b/c", "/a", "..", "a;b", "a`b`", "a'"])
def test_no_name_of_a_folder(model: str) -> None:
    with pytest.raises(ConfigError) as caught:
        render("mad-submit", "nodes=a,b,c", f"model_name={model}")
    assert caught.value.field == "model_name"


def test_where_dp_mode_works() -> None:
    assert "mad-dp-mode" not in ids(render("mad-submit", *TODAY, "dp_mode=1", "run_mori=1"))
    over_mooncake = render("mad-submit", *TODAY, "dp_mode=1")
    dense = render("mad-submit", "nodes=a,b", "model_name=Qwen3-32B", TODAY[2], "dp_mode=1", "run_mori=1")
    subjects = {
        finding.subject for one in (over_mooncake, dense) for finding in one.findings if finding.id == "mad-dp-mode"
    }
    assert subjects == {"run_mori", "dp_mode"}


def test_a_build_of_today() -> None:
    texts = ["image=r.example/x:1", "base_image=b:2", "install_mori=0", "gpu_arch=gfx950"]
    clone, build = render("mad-docker-build", "layout=colocated-router", *texts).commands
    assert clone.argv[:2] == ("git", "clone")
    dockerfile = "docker/sglang_disagg_inference.ubuntu.amd.Dockerfile"
    assert build.cwd == "MAD"
    assert list(build.argv) == [
        *("docker", "build", "-t", "r.example/x:1", "-f", dockerfile),
        *("--build-arg", "BASE_DOCKER=b:2", "--build-arg", "INSTALL_MORI=0", "--build-arg", "GPU_ARCH=gfx950", "."),
    ]


def test_the_base_image_of_the_document() -> None:
    assert ids(render("mad-docker-build")) == {"mad-base-image"}
    assert ids(render("mad-docker-build", "base_image=lmsysorg/sglang:v0.5.2rc1-rocm700-mi30x")) == set()
    assert ids(render("mad-docker-build", "layout=colocated-router")) == set()
    assert "-f ./x" in " ".join(argvs(render("mad-docker-build", "dockerfile=./x"))[1])
    with pytest.raises(ConfigError, match="install_mori"):
        render("mad-docker-build", "install_mori=0")


POST = ("log_path=/l/", "job_id=77", "benchmark_log=b_CONCURRENCY.log")


def test_results_of_today() -> None:
    rendered = render("mad-post-run", *POST, "layout=colocated-router", "router_node=n1")
    parse, ask = rendered.commands
    assert parse.argv == ("python3", "parse_to_csv.py", "/l/77/b_CONCURRENCY.log")
    assert (ask.node, ask.argv[3]) == ("n1", "http://127.0.0.1:2322/generate")
    assert rendered.findings == ()


def test_results_of_then() -> None:
    rendered = render("mad-post-run", *POST)
    assert rendered.commands[1].node == "proxy"
    assert ids(rendered) == {"mad-layout", "mad-parser"}


@pytest.mark.parametrize(
    "text", ["job_id=../x", "job_id=", "benchmark_log=../b", "benchmark_log=..", "benchmark_log=-o", "log_path=-l"]
)
def test_paths_stay_where_they_belong(text: str) -> None:
    name = text.partition("=")[0]
    others = [other for other in POST if not other.startswith(name)]
    with pytest.raises(ConfigError) as caught:
        render("mad-post-run", *others, text)
    assert caught.value.field == name
