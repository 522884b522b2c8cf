from __future__ import annotations

import json

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.launch import LaunchPlan, Role
from pdpanel.panel.plan import plan

WANTED: dict[str, object] = {
    "engine": "sglang",
    "dialect": "rocm-mad",
    "model": "DeepSeek-V3",
    "prefill": {"count": 1},
    "decode": {"count": 1},
    "slurm": {"nodes": ["node[1-2]"]},
}


def mad(**fields: object) -> LaunchPlan:
    return plan(parse_deployment({**WANTED, **fields}), elsewhere(), None)


def test_todays_scripts() -> None:
    made = mad(prefill={"count": 2}, decode={"count": 3}, slurm={"nodes": ["node[1-5]"], "log_path": "/logs"})
    (submit,) = made.processes
    assert (submit.role, submit.cwd) == (Role.SUBMIT, "MAD/scripts/sglang_disagg")
    assert submit.argv == (
        *("sbatch", "-N", "5", "-n", "5", "--nodelist=node1,node2,node3,node4,node5", "run_xPyD_models.slurm"),
    )
    assert dict(made.env) == {
        "DOCKER_IMAGE_NAME": "sglang_disagg_pd_image",
        "xP": "2",
        "yD": "3",
        "MODEL_NAME": "DeepSeek-V3",
        "LOG_PATH": "/logs",
        "RUN_MORI": "0",
        "DP_MODE": "0",
        "USE_CX7_NICS": "1",
    }
    (request,) = made.requests
    assert (request.node, request.argv[3]) == ("node1", "http://127.0.0.1:2322/generate")


def test_the_first_scripts_have_a_node_for_the_proxy_and_no_switches() -> None:
    made = mad(model="Qwen3-32B", slurm={"nodes": ["n1", "n2", "n3"], "layout": "dedicated-proxy"})
    assert made.processes[0].argv[1:5] == ("-N", "3", "-n", "3")
    assert set(made.env) == {"DOCKER_IMAGE_NAME", "xP", "yD", "MODEL_NAME"}
    assert made.requests == ()
    assert "mad-layout" in {finding.id for finding in made.findings}
    with pytest.raises(ConfigError, match="3 are needed"):
        mad(slurm={"nodes": ["n1", "n2"], "layout": "dedicated-proxy"})
    for switch in ("run_mori", "dp_mode"):
        with pytest.raises(ConfigError, match=rf"slurm\.{switch}"):
            mad(slurm={"nodes": ["n1", "n2", "n3"], "layout": "dedicated-proxy", switch: True})


def test_hosts_of_the_roles_are_the_jobs_nodes() -> None:
    roles = {"prefill": {"count": 1, "hosts": ["a"]}, "decode": {"count": 2, "hosts": ["b[1-2]"]}}
    made = mad(**roles, slurm={})
    assert "--nodelist=a,b1,b2" in made.processes[0].argv
    old = mad(**roles, slurm={"layout": "dedicated-proxy"}, router={"node": "front"})
    assert "--nodelist=front,a,b1,b2" in old.processes[0].argv
    with pytest.raises(ConfigError, match=r"slurm\.nodes"):
        mad(slurm={})


def test_what_the_queue_is_told() -> None:
    slurm = {"nodes": ["n1", "n2"], "partition": "mi300", "account": "me", "time": "24:00:00", "gres": "gpu:8"}
    argv = mad(slurm=slurm).processes[0].argv
    assert argv[:5] == ("sbatch", "--partition=mi300", "--account=me", "--time=24:00:00", "--gres=gpu:8")


def test_the_image_and_mori() -> None:
    made = mad(run={"image": "mine:1"}, transport="mori")
    assert made.env["DOCKER_IMAGE_NAME"] == "mine:1"
    assert made.env["RUN_MORI"] == "1"
    assert made.processes[0].argv[0] == "sbatch"


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"model": "deepseek-ai/DeepSeek-V3"}, "mad-model-name"),
        ({"model": "Llama-4"}, "mad-model-name"),
        ({"model": "Qwen3-32B", "slurm": {"nodes": ["n1", "n2"], "dp_mode": True}}, "mad-dp-mode"),
        ({"slurm": {"nodes": ["n1", "n2", "n3"]}}, "mad-spare-nodes"),
    ],
)
def test_what_the_scripts_would_refuse_is_said(fields: dict[str, object], found: str) -> None:
    assert found in {finding.id for finding in mad(**fields).findings}


def test_a_name_that_a_shell_could_read_is_refused() -> None:
    with pytest.raises(ConfigError, match="model_name"):
        mad(model="x; rm -rf ~")


def test_the_request_asks_what_the_deployment_says() -> None:
    (request,) = mad(smoke_test={"prompt": "Hi", "temperature": 0, "max_tokens": 3}).requests
    assert json.loads(request.argv[-1]) == {"text": "Hi", "sampling_params": {"temperature": 0, "max_new_tokens": 3}}


def test_fields_of_workers_mean_nothing_to_scripts_that_know_their_models() -> None:
    with pytest.raises(ConfigError, match=r"means nothing to the dialect rocm-mad"):
        mad(workers={"tp": 4})
