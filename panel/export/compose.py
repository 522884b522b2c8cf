"""The format `compose`: one Compose project per node, for hosts with Docker or Podman. Pure.

Containers share the host's network and IPC, as RDMA and shared memory want it. `$` is doubled everywhere, since Compose
replaces variables in all strings. A process waits by `depends_on` for those of its own node and by a container of its
own for those of others. See the Compose specification for the keys.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..deployment import Deployment
from ..launch import LaunchPlan, ProcessSpec, Restart, Role
from .accelerator import Accelerator, accelerator_of
from .command_words import request_script
from .container import InnerCommand, inner_command
from .exported import ExportedFile, Format
from .firewall import firewall_files
from .nodes import Node, config_files, environment, file_labels, nodes_of, ready_url
from .readme import code, readme
from .run_of import image_of, images_step
from .yaml_text import yaml_text

__all__ = ["FORMAT", "compose_document", "write"]

_ABOUT = "For hosts with Docker: each process in a container of its engine's image, with the host's network."
_WORKERS = (Role.PREFILL, Role.DECODE, Role.UNIFIED, Role.ENCODER)
_RDMA = ("mooncake", "nixl", "mori")
_ASCEND = (*(f"/dev/davinci{number}" for number in range(8)), "/dev/davinci_manager", "/dev/devmm_svm", "/dev/hisi_hdc")
_AMD = ("/dev/kfd", "/dev/dri")
# What Ascend's driver brings that its programs look for, where it has been installed as its documents say.
_ASCEND_DRIVER = (
    "/usr/local/Ascend/driver",
    "/usr/local/dcmi",
    "/usr/local/bin/npu-smi",
    "/etc/ascend_install.info",
)
_DRIVERS = {
    Accelerator.NONE: "",
    Accelerator.NVIDIA: " GPUs need the NVIDIA Container Toolkit there.",
    Accelerator.AMD: " Only AMD's driver is needed there.",
    Accelerator.ASCEND: " Only Ascend's driver is needed there, at its usual places.",
}
_FILES = "/deployment"
_ASK = "import sys,urllib.request as u;u.build_opener(u.ProxyHandler({})).open(sys.argv[1],timeout=4)"
_WAIT = (
    "import sys,time,urllib.request as u\n"
    "o=u.build_opener(u.ProxyHandler({}));end=time.monotonic()+float(sys.argv[2])\n"
    "while True:\n"
    " try:\n"
    "  o.open(sys.argv[1],timeout=4);break\n"
    " except OSError as e:\n"
    "  if time.monotonic()>end:sys.exit(f'{sys.argv[1]} did not answer within {sys.argv[2]} s: {e}')\n"
    "  time.sleep(1)"
)


def write(plan: LaunchPlan, deployment: Deployment) -> tuple[ExportedFile, ...]:
    """Returns README.md and, in a folder per node, compose.yaml and the config files."""
    nodes = nodes_of(plan)
    exported = [ExportedFile("README.md", readme(plan, deployment, nodes, _steps(plan, deployment, nodes)))]
    for node in nodes:
        document = compose_document(plan, deployment, node)
        exported.append(ExportedFile(f"{node.label}/compose.yaml", yaml_text(document)))
        if node.requests:
            exported.append(ExportedFile(f"{node.label}/request.sh", request_script(node), executable=True))
        exported += config_files(node)
    return (*exported, *firewall_files(plan, deployment, nodes))


FORMAT = Format("compose", "Docker Compose", _ABOUT, write)


def compose_document(plan: LaunchPlan, deployment: Deployment, node: Node) -> dict[str, Any]:
    """Returns the Compose project of `node`."""
    keys = {spec.name: label.lower() for spec, label in zip(node.processes, _labels(node), strict=True)}
    services: dict[str, Any] = {}
    for spec in node.processes:
        for name in spec.after:
            other = plan.process(name)
            if other is not None and other.node != node.name and other.ready.url:
                services.setdefault(_waiter(name), _wait(plan, deployment, other, spec, node))
        services[keys[spec.name]] = _service(plan, deployment, node, spec, keys)
    return {"name": _project(f"{plan.run_name}-{node.label}"), "services": services}


def _service(
    plan: LaunchPlan, deployment: Deployment, node: Node, spec: ProcessSpec, keys: Mapping[str, str]
) -> dict[str, Any]:
    image = image_of(plan, deployment, spec)
    inner = inner_command(spec, image)
    variables = {**inner.env, **environment(spec)}
    volumes = _volumes(plan, deployment, spec, inner.mounts)
    waits = _depends_on(plan, spec, node, keys)
    made: dict[str, Any] = {
        "image": _literal(image),
        "entrypoint": [],  # Some images have one of their own, which would take the command for its arguments.
        "command": [_literal(word) for word in inner.argv],
        "environment": {name: _literal(value) for name, value in variables.items()},
        "working_dir": _place(node, spec, inner),
        "volumes": volumes,
        "network_mode": "host",
        "ipc": "host",
        **({"pid": "host"} if plan.transport == "shm" else {}),  # memory is found by way of its process
        "init": True,
        "privileged": inner.privileged,
        **_hardware(plan, deployment, spec, inner),
        "depends_on": waits,
        "healthcheck": _health(spec) if spec.ready.url else {},
        "restart": "on-failure" if plan.restart is Restart.ON_FAILURE else "no",
        "stop_grace_period": f"{max(1, math.ceil(spec.grace_s))}s",
    }
    return {key: value for key, value in made.items() if value or key == "entrypoint"}


def _place(node: Node, spec: ProcessSpec, inner: InnerCommand) -> str:
    """Returns where a process starts: where its files are; without files the image knows best (vLLM's has examples)."""
    if spec.cwd.startswith("/") and inner.argv == spec.argv:
        return _literal(spec.cwd)
    return _FILES if node.files else ""


def _hardware(plan: LaunchPlan, deployment: Deployment, spec: ProcessSpec, inner: InnerCommand) -> dict[str, Any]:
    """Returns what a process needs of the host's devices; GPUs are all passed in, as the command's indices want it."""
    lists = {name: [_literal(value) for value in values] for name, values in inner.lists.items()}
    maker = accelerator_of(deployment)
    if spec.role not in _WORKERS or maker is Accelerator.NONE:
        return lists
    own = {"devices": _devices(plan, maker), "cap_add": ["IPC_LOCK"]}
    if maker is Accelerator.AMD:
        # As ROCm's documents start containers.
        own |= {"group_add": ["video"], "security_opt": ["seccomp=unconfined"]}
    # Compose wants both paths of a device, docker run one where they are the same.
    lists["devices"] = [
        f"{device}:{device}" if device.startswith("/") and ":" not in device else device
        for device in lists.get("devices", [])
    ]
    made: dict[str, Any] = {
        name: list(dict.fromkeys([*own.get(name, []), *lists.get(name, [])])) for name in {**own, **lists}
    }
    made["ulimits"] = {"memlock": -1}
    if maker is Accelerator.NVIDIA:
        gpu = {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
        made["deploy"] = {"resources": {"reservations": {"devices": [gpu]}}}
    return made


def _depends_on(plan: LaunchPlan, spec: ProcessSpec, node: Node, keys: Mapping[str, str]) -> dict[str, Any]:
    waits: dict[str, Any] = {}
    for name in spec.after:
        other = plan.process(name)
        if other is None:
            continue
        if other.node == node.name:
            waits[keys[name]] = {"condition": "service_healthy" if other.ready.url else "service_started"}
        elif other.ready.url:
            waits[_waiter(name)] = {"condition": "service_completed_successfully"}
    return waits


def _wait(
    plan: LaunchPlan, deployment: Deployment, other: ProcessSpec, spec: ProcessSpec, node: Node
) -> dict[str, Any]:
    address, seconds = ready_url(plan, other, node.name), str(math.ceil(other.ready.timeout_s))
    return {
        "image": _literal(image_of(plan, deployment, spec)),
        "entrypoint": [],
        "command": ["python3", "-c", _literal(_WAIT), _literal(address), seconds],
        "network_mode": "host",
        "restart": "no",
    }


def _health(spec: ProcessSpec) -> dict[str, Any]:
    test = ["CMD", "python3", "-c", _ASK, _literal(spec.ready.url)]
    if spec.argv[0].rsplit("/", 1)[-1] == "etcd":
        # Its image has no Python.
        test = [
            "CMD",
            "etcdctl",
            f"--endpoints=http://127.0.0.1:{spec.ports.get('client', 2379)}",
            "endpoint",
            "health",
        ]
    return {
        "test": test,
        "interval": "5s",
        "timeout": "5s",
        "retries": 3,
        "start_period": f"{math.ceil(spec.ready.timeout_s)}s",
    }


def _devices(plan: LaunchPlan, maker: Accelerator) -> list[str]:
    """Returns the device files of GPUs and NPUs, but for NVIDIA's, and of NICs; Ascend's NPUs have their own NICs."""
    if maker is Accelerator.ASCEND:
        devices: tuple[str, ...] = _ASCEND
    else:
        devices = _AMD if maker is Accelerator.AMD else ()
        devices += ("/dev/infiniband",) if plan.transport in _RDMA else ()
    return [f"{device}:{device}" for device in devices]


def _volumes(
    plan: LaunchPlan, deployment: Deployment, spec: ProcessSpec, mounts: Iterable[tuple[str, str]]
) -> list[dict[str, Any]]:
    wanted: dict[str, dict[str, Any]] = {_FILES: {"type": "bind", "source": ".", "target": _FILES}}
    if spec.role in (*_WORKERS, Role.ROUTER, Role.PROXY):
        cache = "/root/.cache/huggingface"
        if plan.model.startswith("/"):
            model = _literal(plan.model)
            wanted[model] = {"type": "bind", "source": model, "target": model, "read_only": True}
        else:
            source = "${HF_HOME:-${HOME}/.cache/huggingface}"
            wanted[cache] = {"type": "bind", "source": source, "target": cache, "bind": {"create_host_path": True}}
    if spec.role in _WORKERS and accelerator_of(deployment) is Accelerator.ASCEND:
        wanted |= {path: {"type": "bind", "source": path, "target": path, "read_only": True} for path in _ASCEND_DRIVER}
    for source, target in mounts:
        if target != _FILES:
            wanted[target] = {"type": "bind", "source": _literal(source), "target": _literal(target)}
    return list(wanted.values())


def _labels(node: Node) -> tuple[str, ...]:
    return file_labels(spec.name for spec in node.processes)


def _waiter(name: str) -> str:
    return f"wait-for-{file_labels([name])[0].lower()}"


def _project(name: str) -> str:
    return re.sub(r"[^a-z0-9_-]", "-", name.lower()).lstrip("-_")


def _literal(text: str) -> str:
    return text.replace("$", "$$")


def _steps(plan: LaunchPlan, deployment: Deployment, nodes: Sequence[Node]) -> list[str]:
    maker = accelerator_of(deployment)
    asking = next((node for node in nodes if node.requests), nodes[-1])
    trial = f" from {code(asking.name)}" if asking.name else ""
    steps = [
        "Copy each node's folder to it: "
        + ", ".join(f"`{node.label}` to {code(node.name)}" if node.name else f"`{node.label}`" for node in nodes)
        + f".{_DRIVERS[maker]}",
        images_step(plan, deployment, plan.processes),
        "On all nodes at once, in the node's folder: `docker compose up -d`. A container waits for what it needs.",
        "Look: `docker compose ps` and `docker compose logs -f`.",
        "Stop: `docker compose down`.",
    ]
    if plan.transport in _RDMA and maker in (Accelerator.NVIDIA, Accelerator.AMD):
        steps.insert(1, "A node without RDMA devices has no `/dev/infiniband`: remove that line there.")
    if asking.requests:
        steps.insert(-1, f"Ask for an answer{trial}: the request is in `{asking.label}/request.sh`.")
    return steps
