"""A Slurm export for ROCm/MAD: its image, the submission of its job, and what to do with the logs. Pure.

The job is MAD's own script, so that nothing here starts a worker; the commands are those of the recipes in
`panel.recipes.rocm_mad`, with the deployment's fields as their settings.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace

from ..deployment import Deployment
from ..dialects.rocm_mad import submit_settings
from ..launch import LaunchPlan
from ..recipes.catalog import find_recipe, render_recipe
from ..recipes.mad_layouts import LAYOUTS, Layout
from ..recipes.recipe import Command, Rendered
from ..recipes.script import script_of
from .exported import ExportedFile
from .readme import code, readme

__all__ = ["write"]

_SCRIPTS = "MAD/scripts/sglang_disagg"


def write(plan: LaunchPlan, deployment: Deployment) -> tuple[ExportedFile, ...]:
    """Returns README.md and the scripts that build, submit (in both ways) and read the results.

    Raises:
        ConfigError: no nodes are named, or a field is nothing that MAD's scripts take.
    """
    layout = LAYOUTS[deployment.slurm.layout]
    build = _script("mad-docker-build", _image(deployment))
    return (
        ExportedFile("README.md", readme(plan, deployment, (), _steps(deployment, layout), firewall=False)),
        ExportedFile("build.sh", build, executable=True),
        ExportedFile("submit.sh", _submit(deployment, "sbatch"), executable=True),
        ExportedFile("submit-salloc.sh", _submit(deployment, "salloc"), executable=True),
        ExportedFile("results.sh", "\n".join(_results(plan, deployment, layout)) + "\n", executable=True),
    )


def _image(deployment: Deployment) -> list[str]:
    layout, image = f"layout={deployment.slurm.layout}", deployment.run.image
    return [layout, f"image={image}"] if image else [layout]


def _submit(deployment: Deployment, how: str) -> str:
    recipe = find_recipe("mad-submit")
    rendered = render_recipe(recipe, [*submit_settings(deployment), f"submit={how}"])
    # The smoke test belongs to the time when the job runs.
    commands = tuple(_queued(command, deployment) for command in rendered.commands if command.role == "slurm-submit")
    return script_of(recipe, replace(rendered, commands=commands))


def _queued(command: Command, deployment: Deployment) -> Command:
    slurm = deployment.slurm
    fields = {"partition": slurm.partition, "account": slurm.account, "time": slurm.time, "gres": slurm.gres}
    options = [f"--{name}={value}" for name, value in fields.items() if value is not None]
    return replace(command, argv=(command.argv[0], *options, *command.argv[1:]))


def _script(name: str, settings: list[str]) -> str:
    recipe = find_recipe(name)
    return script_of(recipe, render_recipe(recipe, settings))


def _after(deployment: Deployment) -> Rendered:
    placeholder = ["log_path=logs", "job_id=0", "benchmark_log=log"]
    return render_recipe(find_recipe("mad-post-run"), [f"layout={deployment.slurm.layout}", *placeholder])


def _results(plan: LaunchPlan, deployment: Deployment, layout: Layout) -> Iterator[str]:
    known = deployment.slurm.log_path
    asked = next((command.argv for command in _after(deployment).commands if command.role == "smoke-test"), ())
    asked = plan.requests[0].argv if plan.requests else asked
    yield "#!/usr/bin/env bash"
    yield "# Reads what a job measured, with MAD's own program: results.sh JOB. While it runs, `results.sh test` on the"
    yield "# router's node asks for an answer."
    yield "set -euo pipefail"
    yield "if [[ ${1-} == test ]]; then"
    yield f"  exec {shlex.join(asked)}"
    yield "fi"
    yield "job=${1:?usage: results.sh JOB | test}"
    if known is None:
        yield "logs=${LOG_PATH:?set LOG_PATH to the folder of the logs of all jobs}"
    else:
        yield f"logs=${{LOG_PATH:-{shlex.quote(known)}}}"
    yield "found=0"
    yield 'for log in "$logs/$job/"*_CONCURRENCY.log; do'
    yield "  [[ -e $log ]] || continue"
    yield "  found=1"
    yield '  log=$(cd -- "$(dirname -- "$log")" && pwd)/${log##*/}'
    yield f'  (cd -- {_SCRIPTS} && python3 {shlex.quote(layout.parser)} "$log")'
    yield "done"
    yield "if ((!found)); then"
    yield "  printf '%s has no *_CONCURRENCY.log: the benchmark has not begun\\n' \"$logs/$job\" >&2"
    yield "  exit 1"
    yield "fi"


def _steps(deployment: Deployment, layout: Layout) -> list[str]:
    nodes = deployment.prefill.count + deployment.decode.count + layout.spare_nodes
    logs = "prefill_NODE<n>.log, decode_NODE<n>.log and pd_sglang_bench_serving.sh_NODE<n>.log"
    if layout.spare_nodes:
        logs = f"etcd_NODE<n>.log, {logs}"
    where = "the proxy's container" if not layout.tests_on_submit else "the node of the first prefill worker"
    return [
        "Copy this folder to a file system that all nodes share, and go there.",
        "Only if the image is not there yet, on every node: `./build.sh`. It clones ROCm/MAD, which the job needs in "
        "this folder in any case.",
        f"`./submit.sh` ({nodes} nodes), or `./submit-salloc.sh` to run the job from this shell.",
        f"Logs are in LOG_PATH/JOB: {logs}.",
        f"Ask for an answer: `results.sh test`, in {where}; the router's port is {layout.router_port}.",
        f"Afterwards: `./results.sh JOB`, which is {code(layout.parser)} on the job's *_CONCURRENCY.log; "
        "`pdpanel parse-log` reads it as well.",
    ]
