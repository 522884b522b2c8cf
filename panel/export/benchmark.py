"""The command that measures a deployment with the engine's own program, and the request that tries it. Pure.

Flags are those that the programs have had since SGLang 0.4.5 and vLLM 0.10; the bundled engine has no such program.
"""

from __future__ import annotations

import json

from ..deployment import Deployment
from ..dialects.placement import flag, version_of
from ..launch import LaunchPlan, Request

__all__ = ["benchmark_command", "trial_requests"]

_LOAD = ("--dataset-name", "random", "--random-input-len", "1024", "--random-output-len", "128", "--num-prompts", "64")
_CONCURRENCY = ("--max-concurrency", "8")
_FIRST_VLLM_BENCH = (0, 10)


def benchmark_command(plan: LaunchPlan, deployment: Deployment) -> tuple[str, ...]:
    """Returns the command; empty when the engine's version has no program for it or nothing takes its requests."""
    if not plan.router_url:
        return ()
    target = ("--base-url", plan.router_url, *flag("model", plan.model))
    named = flag("served-model-name", deployment.served_model_name) if deployment.served_model_name else ()
    run = deployment.run
    if deployment.engine == "sglang":
        python = run.python or (f"{run.venv}/bin/python" if run.venv else "python3")
        return (python, "-m", "sglang.bench_serving", "--backend", "sglang", *target, *_LOAD, *_CONCURRENCY)
    version = version_of(plan.engine_version)
    if deployment.engine == "vllm" and (not version or version >= _FIRST_VLLM_BENCH):
        program = f"{run.venv}/bin/vllm" if run.venv else "vllm"
        return (program, "bench", "serve", "--backend", "vllm", *target, *named, *_LOAD, *_CONCURRENCY)
    return ()


def trial_requests(plan: LaunchPlan, deployment: Deployment) -> tuple[Request, ...]:
    """Returns the plan's requests; for a dialect that brings none, one to SGLang's /generate at the router."""
    router = plan.process("router")
    if plan.requests or not plan.router_url:
        return plan.requests
    wanted = deployment.smoke_test
    sampling = {
        "temperature": 0 if wanted.temperature is None else wanted.temperature,
        "max_new_tokens": wanted.max_tokens or 32,
    }
    prompt = "The capital of France is" if wanted.prompt is None else wanted.prompt
    body = json.dumps({"text": prompt, "sampling_params": sampling})
    argv = ("curl", "-X", "POST", f"{plan.router_url}/generate", "-H", "Content-Type: application/json", "-d", body)
    return (Request(argv, node=router.node if router else ""),)
