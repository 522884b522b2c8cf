"""The two scripts of a plain Slurm job: the one for sbatch, and the one that srun runs on each of its nodes. Pure.

All that differs from plan to plan is in the head of the first; each node runs its own script of the format `sh`, which
knows the node's processes, what they wait for, and how they are stopped with their children.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from ...engine.errors import ConfigError
from ..deployment import Deployment
from ..runner.journal import one_line
from .nodes import Node
from .shell_texts import shell_text
from .slurm_hosts import MARK, JobHosts

__all__ = ["job_script", "task_script"]

_PLAIN = re.compile(r"[A-Za-z0-9_.,:=@%+/\[\]()*!&|-]{1,1000}")


def job_script(deployment: Deployment, hosts: JobHosts, nodes: Sequence[Node], task: str) -> str:
    """Returns the script for sbatch.

    Args:
        nodes: those of `hosts.plan`.
        task: the name of the other script, beside this one.

    Raises:
        ConfigError: a field of `slurm` is nothing that an #SBATCH line can hold.
    """
    plan = hosts.plan
    asking = next((node.label for node in nodes if node.requests), "")
    lines = [
        "#!/usr/bin/env bash",
        *(f"#SBATCH {option}" for option in _options(deployment, hosts, nodes)),
        "",
        f"# {one_line(plan.model)} by {plan.dialect}: submit it with sbatch from its folder. See README.md.",
        f"readonly task={shlex.quote(task)}",
        f"readonly log_path=${{LOG_PATH:-{shlex.quote(deployment.slurm.log_path or 'logs')}}}",
        "# The plan's nodes: the folder of each, and the host that it has to be; an empty name is any host of the job.",
        f"readonly labels=({' '.join(shlex.quote(node.label) for node in nodes)})",
        f"readonly wanted=({' '.join(map(shlex.quote, hosts.names))})",
        "# Where the smoke test is asked; empty without one.",
        f"readonly asking={shlex.quote(asking)}",
        f"readonly mark={shlex.quote(MARK)}",
        f"router={shlex.quote(plan.router_url)}",
        "",
    ]
    return "\n".join(lines) + "\n" + shell_text("slurm_job")


def task_script() -> str:
    """Returns the script that srun runs once on each node of the job."""
    return shell_text("slurm_task")


def _options(deployment: Deployment, hosts: JobHosts, nodes: Sequence[Node]) -> Iterator[str]:
    slurm = deployment.slurm
    gpus = max((len({gpu for spec in node.processes for gpu in spec.gpus}) for node in nodes), default=0)
    yield f"--job-name={deployment.name}"
    yield f"--nodes={len(nodes)}"
    yield f"--ntasks={len(nodes)}"
    yield "--ntasks-per-node=1"
    # A node's ports and memory are the plan's: it is not shared with other jobs.
    yield "--exclusive"
    yield "--mem=0"
    gres = f"gpu:{gpus}" if slurm.gres is None and gpus else slurm.gres
    fields = {"gres": gres, "time": slurm.time, "partition": slurm.partition, "account": slurm.account}
    for name, value in fields.items():
        if value is not None:
            yield f"--{name}={_plain(name, value)}"
    if hosts.asked:
        yield f"--nodelist={','.join(_plain('nodes', name) for name in hosts.asked)}"


def _plain(name: str, value: str) -> str:
    if not _PLAIN.fullmatch(value):
        remedy = "use letters, digits and punctuation, without spaces and quotes"
        raise ConfigError(f"slurm.{name}", value, "is nothing that an #SBATCH line can hold", remedy)
    return value
