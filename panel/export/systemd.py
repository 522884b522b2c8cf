"""The format `systemd`: one unit per process and a target per node, for hosts that start their deployment at boot.

Pure. A unit counts as started once its process is ready, so `After=` orders what is on one node; for what is on another
one it waits itself. Quoting follows systemd.syntax(7) and systemd.service(5): C escapes in double quotes, `%` and, in
commands, `$` doubled.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from ..deployment import Deployment
from ..launch import LaunchPlan, ProcessSpec, Restart
from ..runner.journal import one_line
from .command_words import after_env
from .container import container_removal
from .exported import ExportedFile, Format
from .firewall import firewall_files
from .nodes import Node, config_files, environment, file_labels, nodes_of, ready_url
from .readme import code, readme
from .shell_texts import shell_text

__all__ = ["FORMAT", "write"]

_ABOUT = "For hosts that start their share of a deployment at boot and start a process again when it fails."
_WAIT_FOR = """#!/usr/bin/env bash
# wait-for.sh NAME URL SECONDS: returns when a GET of URL is answered with 200, and fails when that takes longer.
set -euo pipefail

"""
_ROOT = "/opt/pdpanel"
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "%": "%%"}


def write(plan: LaunchPlan, deployment: Deployment) -> tuple[ExportedFile, ...]:
    """Returns README.md and, in a folder per node, its units, its target, wait-for.sh and the config files."""
    nodes = nodes_of(plan)
    units = {spec.name: unit for node in nodes for spec, unit in _units(plan, node)}
    exported = [ExportedFile("README.md", readme(plan, deployment, nodes, _steps(plan, nodes)))]
    for node in nodes:
        mine = [units[spec.name] for spec in node.processes]
        exported.append(ExportedFile(f"{node.label}/{_target(plan)}", _target_text(plan, mine)))
        for spec in node.processes:
            text = "\n".join(_unit(plan, node, spec, units)) + "\n"
            exported.append(ExportedFile(f"{node.label}/{units[spec.name]}", text))
        wait = _WAIT_FOR + shell_text("answers", "wait-for")
        exported.append(ExportedFile(f"{node.label}/wait-for.sh", wait, executable=True))
        exported += config_files(node)
    return (*exported, *firewall_files(plan, deployment, nodes))


FORMAT = Format("systemd", "systemd units", _ABOUT, write)


def _units(plan: LaunchPlan, node: Node) -> Iterator[tuple[ProcessSpec, str]]:
    labels = file_labels(spec.name for spec in node.processes)
    for spec, label in zip(node.processes, labels, strict=True):
        yield spec, f"pdpanel-{plan.run_name}-{label}.service"


def _target(plan: LaunchPlan) -> str:
    return f"pdpanel-{plan.run_name}.target"


def _target_text(plan: LaunchPlan, units: Sequence[str]) -> str:
    lines = [
        "[Unit]",
        f"Description=pdpanel deployment {plan.run_name}",
        f"Wants={' '.join(units)}",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def _unit(plan: LaunchPlan, node: Node, spec: ProcessSpec, units: dict[str, str]) -> Iterator[str]:
    folder = f"{_ROOT}/{plan.run_name}/{node.label}"
    wait = f"{folder}/wait-for.sh"
    before = [other for name in spec.after if (other := plan.process(name)) is not None]
    here = [units[other.name] for other in before if other.node == node.name]
    elsewhere = [other for other in before if other.node != node.name and other.ready.url]
    yield "[Unit]"
    yield f"Description={_plain(f'{spec.name} of pdpanel deployment {plan.run_name}')}"
    yield f"PartOf={_target(plan)}"
    yield f"After={' '.join(['network-online.target', *here])}"
    yield f"Wants={' '.join(['network-online.target', *here])}"
    yield ""
    yield "[Service]"
    yield "Type=simple"
    place = spec.cwd if spec.cwd.startswith("/") else "/".join(filter(None, (folder, spec.cwd)))
    yield f"WorkingDirectory={_plain(place)}"
    for name, value in environment(spec).items():
        yield f"Environment={_quoted(f'{name}={value}')}"
    seconds = 30
    for other in elsewhere:
        allowed = math.ceil(other.ready.timeout_s)
        seconds += allowed
        yield f"ExecStartPre={_command((wait, other.name, ready_url(plan, other, node.name), str(allowed)))}"
    yield f"ExecStart={_command(after_env(spec.argv))}"
    if spec.ready.url:
        allowed = math.ceil(spec.ready.timeout_s)
        seconds += allowed
        yield f"ExecStartPost={_command((wait, spec.name, spec.ready.url, str(allowed)))}"
    removal = container_removal(spec)
    if removal:
        # A container goes on when the client that started it was killed.
        yield f"ExecStopPost=-{_command(removal)}"
    yield f"TimeoutStartSec={seconds}"
    yield f"TimeoutStopSec={max(1, math.ceil(spec.grace_s))}"
    yield "KillMode=control-group"
    yield "Restart=on-failure" if plan.restart is Restart.ON_FAILURE else "Restart=no"
    yield "RestartSec=5"
    yield "LimitMEMLOCK=infinity"
    yield "LimitNOFILE=1048576"


def _command(argv: Iterable[str]) -> str:
    # env finds the program by the unit's own PATH, which systemd itself does not look at.
    return " ".join(["/usr/bin/env", "--", *(_quoted(word).replace("$", "$$") for word in argv)])


def _quoted(text: str) -> str:
    return '"' + "".join(_escape(char) for char in text) + '"'


def _escape(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    return f"\\x{ord(char):02x}" if ord(char) < 32 or ord(char) == 127 else char


def _plain(text: str) -> str:
    """Returns a value that is taken as it stands, to the end of the line."""
    plain = one_line(text).replace("%", "%%")
    return plain + " " if plain.endswith("\\") else plain


def _steps(plan: LaunchPlan, nodes: Sequence[Node]) -> list[str]:
    root, target = f"{_ROOT}/{plan.run_name}", _target(plan)
    places = "".join(f"\n   - {code(node.name)}: `{node.label}`" for node in nodes)
    return [
        f"On each node, as root, put its folder into `{root}`; with NODE for the folder's name: "
        f"`mkdir -p {root} && cp -r NODE {root}/`{places}",
        f"`cp {root}/NODE/*.service {root}/NODE/*.target /etc/systemd/system/ && systemctl daemon-reload`",
        f"`systemctl start --no-block {target}` on all nodes; a unit waits for what it needs of another node. At each "
        f"boot: `systemctl enable {target}`.",
        "The units run as root, and find programs in the folders of the system alone, such as /usr/local/bin: name a "
        "virtual environment by `run: {venv: PATH}` in the deployment. For another user: `systemctl edit UNIT` and add "
        "`[Service]` and `User=`.",
        f"Look: `systemctl status '{target.removesuffix('.target')}-*'`, and `journalctl -u UNIT -f`.",
        f"Stop: `systemctl stop {target}`.",
    ]
