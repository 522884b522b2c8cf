"""Which program measures a deployment, and what tries one whose dialect brings no request."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from export_plans import deployment, plan_of, process, two_nodes
from pdpanel.panel.export.benchmark import benchmark_command, trial_requests
from pdpanel.panel.launch import Request


def test_each_engine_is_measured_by_its_own_program() -> None:
    plan = two_nodes()
    sglang = benchmark_command(plan, deployment(engine="sglang", run={"venv": "/opt/venv"}))
    assert sglang[:5] == ("/opt/venv/bin/python", "-m", "sglang.bench_serving", "--backend", "sglang")
    assert sglang[5:9] == ("--base-url", "http://10.7.0.1:8000", "--model", "a-model")
    vllm = benchmark_command(replace(plan, engine_version="0.33.0"), deployment(engine="vllm", served_model_name="-m"))
    assert vllm[:3] == ("vllm", "bench", "serve")
    assert "--served-model-name=-m" in vllm


@pytest.mark.parametrize(("engine", "version"), [("bundled", ""), ("vllm", "0.8.4")])
def test_what_has_no_program_is_measured_by_the_script(engine: str, version: str) -> None:
    assert benchmark_command(replace(two_nodes(), engine_version=version), deployment(engine=engine)) == ()


def test_without_a_router_nothing_is_measured_or_tried() -> None:
    plan = replace(two_nodes(), router_url="")
    assert benchmark_command(plan, deployment(engine="sglang")) == ()
    assert trial_requests(plan, deployment()) == ()


def test_a_plan_without_a_request_gets_one_and_one_with_keeps_its_own() -> None:
    (request,) = trial_requests(two_nodes(), deployment(smoke_test={"prompt": "it's", "max_tokens": 3}))
    assert request.node == "a"
    assert request.argv[3] == "http://10.7.0.1:8000/generate"
    assert json.loads(request.argv[-1]) == {"text": "it's", "sampling_params": {"temperature": 0, "max_new_tokens": 3}}
    own = (Request(("curl", "x")),)
    assert trial_requests(plan_of(process("p"), requests=own, router_url="http://x:1"), deployment()) == own
