"""How a process of a plan is run, and in which image when something else starts containers. Pure."""

from __future__ import annotations

from ..deployment import Deployment
from ..deployment_parts import RunSpec
from ..launch import LaunchPlan, ProcessSpec, Role

__all__ = ["DEFAULT_IMAGES", "image_of", "run_of"]

DEFAULT_IMAGES = {
    "sglang": "lmsysorg/sglang",
    "sglang-legacy": "lmsysorg/sglang",
    "rocm-mad": "lmsysorg/sglang",
    "vllm": "vllm/vllm-openai",
    "vllm-v0": "vllm/vllm-openai",
    "vllm-ascend": "quay.io/ascend/vllm-ascend",
    "bundled": "pdpanel",
}
"""Each dialect's image without its tag, which is the engine's version; of the bundled engine nobody publishes one."""
_SERVERS = {"etcd": "quay.io/coreos/etcd:v3.5.17", "redis-server": "redis:7"}


def run_of(deployment: Deployment, spec: ProcessSpec) -> RunSpec:
    """Returns how `spec` is run: its host's way, else its role's, else the deployment's."""
    host = deployment.hosts.get(spec.node)
    own = None
    if spec.role in (Role.PREFILL, Role.DECODE, Role.UNIFIED, Role.ENCODER):
        own = deployment.settings(spec.role.value).run
    elif spec.role in (Role.ROUTER, Role.PROXY):
        own = deployment.router.run
    return (host.run if host else None) or own or deployment.run


def image_of(plan: LaunchPlan, deployment: Deployment, spec: ProcessSpec) -> str:
    """Returns the image that the deployment names for `spec`, else its engine's own at the plan's version."""
    server = _SERVERS.get(spec.argv[0].rsplit("/", 1)[-1])
    if server is not None:
        return server
    named = run_of(deployment, spec).image
    if named:
        return named
    version = plan.engine_version
    tag = (version if version.startswith("v") else f"v{version}") if version else "latest"
    return f"{DEFAULT_IMAGES.get(plan.dialect, plan.dialect)}:{tag}"
