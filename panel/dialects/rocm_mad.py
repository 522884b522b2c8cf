"""ROCm/MAD's SGLang on Slurm: a deployment as the submission of MAD's own job, with today's scripts or the first ones.

Pure. The job starts prefill, decode and router by itself, so a plan is one command, its variables and a request. What
the commands are is known by `panel.recipes.rocm_mad`; this says which of its settings a deployment means.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from ...engine.errors import ConfigError
from ..deployment import Deployment
from ..deployment_parts import SmokeTestSpec
from ..launch import ProcessSpec, Readiness, Request, Role
from ..recipes.catalog import find_recipe, render_recipe
from ..recipes.mad_layouts import COLOCATED_ROUTER
from ..recipes.recipe import Command
from .dialect import Dialect, Draft, PortDefaults
from .placement import Placement

__all__ = ["DIALECT", "build", "submit_settings"]

_RECIPE = "mad-submit"
_READY_TIMEOUT_S = 60.0


def build(placement: Placement) -> Draft:
    """Returns the command that submits the job, its variables, and the request that shows that it serves.

    Raises:
        ConfigError: too few nodes are named, or a field is nothing that MAD's scripts take.
    """
    deployment = placement.deployment
    rendered = render_recipe(find_recipe(_RECIPE), submit_settings(deployment))
    processes: list[ProcessSpec] = []
    requests: list[Request] = []
    for command in rendered.commands:
        if command.role == Role.SUBMIT.value:
            processes.append(_submit(placement, command))
        else:
            requests.append(Request(_asked(command.argv, deployment.smoke_test), command.node or ""))
    return Draft(tuple(processes), env=rendered.env, requests=tuple(requests), findings=rendered.findings)


def submit_settings(deployment: Deployment) -> list[str]:
    """Returns the settings of the recipe mad-submit that the deployment means, as key=value.

    Raises:
        ConfigError: no nodes are named, or the layout's scripts have no such switch.
    """
    slurm = deployment.slurm
    settings = [f"layout={slurm.layout}", f"xP={deployment.prefill.count}", f"yD={deployment.decode.count}"]
    settings += [f"nodes={','.join(_nodes(deployment))}", f"model_name={deployment.model}"]
    if deployment.run.image is not None:
        settings.append(f"image={deployment.run.image}")
    if slurm.log_path is not None:
        settings.append(f"log_path={slurm.log_path}")
    mori = slurm.run_mori or deployment.transport == "mori"
    if slurm.layout == COLOCATED_ROUTER.name:
        switches = {"run_mori": mori, "dp_mode": slurm.dp_mode, "use_cx7_nics": slurm.cx7}
        return [*settings, *(f"{name}={int(value)}" for name, value in switches.items())]
    for field, value in (("slurm.run_mori", mori), ("slurm.dp_mode", slurm.dp_mode)):
        if value:
            problem = f"is not known to the scripts of layout {slurm.layout}"
            raise ConfigError(field, value, problem, f"leave it out, or set slurm.layout: {COLOCATED_ROUTER.name}")
    return settings


def _nodes(deployment: Deployment) -> tuple[str, ...]:
    """Returns the job's nodes in Slurm's short form: its own list, or the roles' hosts behind that of the router."""
    named = tuple(deployment.slurm.nodes or dict.fromkeys(_hosts(deployment)))
    if not named:
        problem = "is missing, and MAD's job is told its nodes"
        raise ConfigError("slurm.nodes", "", problem, "name them, such as [node1, node2]")
    return named


def _hosts(deployment: Deployment) -> Iterator[str]:
    if deployment.router.node is not None:
        yield deployment.router.node
    for role in ("prefill", "decode"):
        yield from deployment.settings(role).hosts or ()


def _queued(command: Command, deployment: Deployment) -> tuple[str, ...]:
    slurm = deployment.slurm
    fields = {"partition": slurm.partition, "account": slurm.account, "time": slurm.time, "gres": slurm.gres}
    options = [f"--{name}={value}" for name, value in fields.items() if value is not None]
    return (command.argv[0], *options, *command.argv[1:])


def _submit(placement: Placement, command: Command) -> ProcessSpec:
    return ProcessSpec(
        name="submit",
        role=Role.SUBMIT,
        node=placement.local_name,
        argv=_queued(command, placement.deployment),
        env={},
        cwd=command.cwd or "",
        ports={},
        ready=Readiness("", placement.deployment.limits.ready_timeout_s or _READY_TIMEOUT_S),
        log="submit.log",
    )


def _asked(argv: tuple[str, ...], spec: SmokeTestSpec) -> tuple[str, ...]:
    """Returns the recipe's request with what the deployment asks in place of what the document asks."""
    body = json.loads(argv[-1])
    sampling = body["sampling_params"]
    if spec.prompt is not None:
        body["text"] = spec.prompt
    if spec.temperature is not None:
        whole = spec.temperature == int(spec.temperature)
        sampling["temperature"] = int(spec.temperature) if whole else spec.temperature
    if spec.max_tokens is not None:
        sampling["max_new_tokens"] = spec.max_tokens
    return (*argv[:-1], json.dumps(body))


DIALECT = Dialect(
    name="rocm-mad",
    title="SGLang by ROCm/MAD on Slurm",
    engine="sglang",
    about="Submits ROCm/MAD's own Slurm job for AMD MI300X; needs its repository, its image and a shared folder.",
    fields=frozenset(),
    transports=("mooncake", "mori"),
    routers=(),
    ports=PortDefaults(http={Role.PREFILL: 3000, Role.DECODE: 3000}, bootstrap=None, router=2322),
    gpu_selection="none",
    build=build,
)
