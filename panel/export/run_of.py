"""How a process of a plan is run, and in which image when something else starts containers. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ..deployment import Deployment
from ..deployment_parts import RunSpec
from ..launch import LaunchPlan, ProcessSpec, Role
from .accelerator import Accelerator, accelerator_of
from .readme import code

__all__ = ["DEFAULT_IMAGES", "image_of", "images_step", "run_of"]

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
_OTHER_MAKERS = {
    ("sglang", Accelerator.AMD): "lmsysorg/sglang-rocm",
    ("sglang", Accelerator.ASCEND): "quay.io/ascend/sglang",
    ("vllm", Accelerator.AMD): "vllm/vllm-openai-rocm",
    ("vllm", Accelerator.ASCEND): "quay.io/ascend/vllm-ascend",
}
"""An engine's images for hardware that is not NVIDIA's; their tags name more than the engine's version."""
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
    other = _OTHER_MAKERS.get((deployment.engine, accelerator_of(deployment)))
    return f"{other or DEFAULT_IMAGES.get(plan.dialect, plan.dialect)}:{tag}"


def images_step(plan: LaunchPlan, deployment: Deployment, specs: Iterable[ProcessSpec]) -> str:
    """Returns what a README says of the images of `specs`: which they are, and which of them nobody vouches for."""
    images = {image_of(plan, deployment, spec): spec for spec in specs}
    named = ", ".join(map(code, images))
    said = f"Images: {named}. Others: write `run: {{image: NAME}}` into the deployment and export again."
    guessed = [
        image for image, spec in images.items() if image not in _SERVERS.values() and not run_of(deployment, spec).image
    ]
    if not guessed:
        return said
    if deployment.engine == "bundled":
        return f"{said} Nobody publishes {code(guessed[0])}: build an image of that name with pdpanel in it."
    maker = accelerator_of(deployment)
    if maker is not Accelerator.NVIDIA:
        hardware = "AMD GPUs" if maker is Accelerator.AMD else "Ascend NPUs"
        return (
            f"{said} {code(guessed[0])} is a guess: tags of images for {hardware} also name the driver's version and "
            "the hardware, so look up the one that fits."
        )
    return said
