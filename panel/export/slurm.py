"""The format `slurm`: a job for sbatch that serves a plan on its nodes; for ROCm/MAD, the steps of its own scripts.

Pure. The scripts are written by `slurm_job` and, for MAD, by `slurm_mad`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..deployment import Deployment
from ..launch import LaunchPlan
from . import sh, slurm_mad
from .benchmark import trial_requests
from .exported import ExportedFile, Format
from .nodes import Node, config_files, nodes_of
from .readme import code, readme
from .slurm_hosts import JobHosts, job_hosts
from .slurm_job import job_script, task_script

__all__ = ["FORMAT", "write"]

_MAD = "rocm-mad"
_ABOUT = (
    "For a cluster with Slurm and a folder that its nodes share; for ROCm/MAD it is the steps of MAD's own scripts."
)


def write(plan: LaunchPlan, deployment: Deployment) -> tuple[ExportedFile, ...]:
    """Returns README.md, the job, what runs on each of its nodes, and the nodes' scripts and config files.

    Raises:
        ConfigError: `slurm` has too few nodes, or a field that cannot be said to Slurm.
    """
    if plan.dialect == _MAD:
        return slurm_mad.write(plan, deployment)
    hosts = job_hosts(plan, deployment)
    hosts = replace(hosts, plan=replace(hosts.plan, requests=trial_requests(hosts.plan, deployment)))
    nodes = nodes_of(hosts.plan)
    by_name = {node.name: node for node in nodes}
    job, task = f"{deployment.name}.slurm", f"{deployment.name}-task.sh"
    exported = [
        ExportedFile("README.md", readme(plan, deployment, nodes, _steps(hosts, nodes, job), firewall=False)),
        ExportedFile(job, job_script(deployment, hosts, nodes, task), executable=True),
        ExportedFile(task, task_script(), executable=True),
    ]
    for node in nodes:
        script = sh.script(hosts.plan, deployment, node, by_name)
        exported.append(ExportedFile(f"nodes/{node.label}.sh", script, executable=True))
        exported += [replace(file, path=f"nodes/{file.path}") for file in config_files(node)]
    return tuple(exported)


def _steps(hosts: JobHosts, nodes: Sequence[Node], job: str) -> list[str]:
    named = [name for name in hosts.names if name]
    if hosts.asked:
        where = f"It asks for {code(','.join(hosts.asked))}."
    else:
        where = f"Slurm chooses the {len(nodes)} node{'s' if len(nodes) > 1 else ''}."
    if len(named) < len(nodes) and any(node.name for node in nodes):
        where += " A host of the plan that is no node of Slurm's is a place: the job's other hosts fill them in order."
    return [
        "Copy this folder to a file system that all nodes share, and go there.",
        f"`sbatch ./{job}`. {where} `LOG_PATH=FOLDER sbatch ...` puts logs elsewhere in what is shared, "
        "and `UNTIL_READY=1 sbatch ...` is a trial that ends once the deployment has answered.",
        "Wait for the file `ready` in the folder of the job, LOG_PATH/JOB: then all processes are ready and the smoke "
        "test, `smoke-test.log`, got its answer. `hosts` there says which host of the job stands for which node.",
        "Logs: `PROCESS_NODE<n>.log` there, n the number of the node in the table above from 0; and `node-<n>.log`, "
        "what the node's own script says.",
        "End: `scancel JOB`, or a file `stop` in the folder of the job. Each node ends its processes with their "
        "children, for which Slurm's KillWait gives it time. A process that ends by itself ends the job, with an exit "
        "code that is not 0.",
    ]


FORMAT = Format("slurm", "Slurm job", _ABOUT, write)
