"""Which RDMA devices a worker's process is told to use. Pure.

The value is SGLang's --disaggregation-ib-device: a list for all GPUs, or a map whose keys are the GPUs' numbers as the
process sees them. After CUDA_VISIBLE_DEVICES those count from 0; with --base-gpu-id they are the node's own
(SGLang 0.5.23, get_ib_devices_for_gpu and init_new of its transfer engine).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...engine.errors import ConfigError
from ..deployment import Deployment
from ..deployment_parts import NicChoice, RoleSpec
from ..launch import Role
from .node_facts import NodeFacts

if TYPE_CHECKING:  # A probe's modules would cost every start of the command line.
    from ...nic_probe.gpus.gpu import Gpu
    from ...nic_probe.host import Host

__all__ = ["NicChooser", "gpu_by_number"]

_WITHOUT_NICS = frozenset({"mooncake_tcp", "shm", "tcp"})
_MOST_NAMED = 16


class NicChooser:
    """Chooses the NICs of one role's processes.

    Args:
        selection: how a worker learns which GPUs are its own; see `Deployment.gpu_selection`.
    """

    def __init__(self, deployment: Deployment, role: Role, spec: RoleSpec, selection: str) -> None:
        own = getattr(deployment, role.value).nics is not None
        common = deployment.workers.nics is not None
        self._field = f"{role.value}.nics" if own else "workers.nics" if common else "nics"
        self._choice: NicChoice = deployment.nics if spec.nics is None else spec.nics
        if deployment.transport in _WITHOUT_NICS:
            self._choice = "auto"
        self._selection = selection

    def text(self, node: str, gpus: Sequence[int], count: int, facts: NodeFacts) -> str:
        """Returns the value for a process on `node`; empty leaves it to the engine.

        Args:
            gpus: the node's GPUs that the process has; empty where the deployment leaves that open.
            count: how many it has.

        Raises:
            ConfigError: the host lacks a NIC, a GPU has none, or too little is known of the host.
        """
        choice = self._choice
        if isinstance(choice, list):
            self._check_there(choice, node, facts)
            return ",".join(dict.fromkeys(choice))
        if isinstance(choice, Mapping):
            self._check_map(choice, node, gpus, count, facts)
            return json.dumps({gpu: ",".join(nics) for gpu, nics in choice.items()})
        return "" if choice == "auto" else self._nearest(node, gpus, facts)

    def _numbers(self, gpus: Sequence[int], count: int) -> Sequence[int]:
        """Returns the numbers that the process gives its GPUs."""
        return gpus if self._selection == "base-gpu-id" and gpus else range(count)

    def _check_there(self, wanted: Sequence[str], node: str, facts: NodeFacts) -> None:
        known = _known_nics(facts)
        if known is None:
            return
        for nic in wanted:
            if nic not in known:
                there = ", ".join(known[:_MOST_NAMED]) + (" and others" if len(known) > _MOST_NAMED else "")
                remedy = f"write some of {there}" if known else "write nics: auto, or use a TCP transport"
                has = "does not have" if known else "does not have: it has no usable one"
                raise ConfigError(self._field, nic, f"is an RDMA device that {_host(node)} {has}", remedy)

    def _check_map(
        self, choice: Mapping[str, list[str]], node: str, gpus: Sequence[int], count: int, facts: NodeFacts
    ) -> None:
        for number in self._numbers(gpus, count):
            if not choice.get(str(number)):
                problem = f"has no NIC for GPU {number}, which a worker on {_host(node)} uses"
                shown = f"a map of GPUs {', '.join(list(choice)[:_MOST_NAMED])}"
                raise ConfigError(
                    self._field, shown, problem, f"add '{number}' with its NICs, or write one list for all"
                )
        self._check_there([nic for nics in choice.values() for nic in nics], node, facts)

    def _nearest(self, node: str, gpus: Sequence[int], facts: NodeFacts) -> str:
        if facts.host is None or facts.topology is None:
            remedy = f"name a dump in hosts.{node}.dump, or write the NICs" if node else "write the NICs, or auto"
            raise ConfigError(
                self._field, "affinity", f"needs to know where GPUs and NICs of {_host(node)} sit", remedy
            )
        near = facts.topology.ib_devices
        by_number = gpu_by_number(facts.host)
        used = list(gpus) or sorted(by_number)
        chosen: dict[int, str] = {}
        for position, number in enumerate(used):
            gpu = by_number.get(number)
            nics = near.get(gpu.pci, ()) if gpu is not None else ()
            if not nics:
                problem = f"finds no usable NIC for GPU {number} of {_host(node)}"
                raise ConfigError(self._field, "affinity", problem, "write the NICs, or auto")
            chosen[position if self._selection != "base-gpu-id" else number] = ",".join(nics)
        if not chosen:
            problem, remedy = f"needs GPUs, and {_host(node)} has none", "write the NICs, or auto"
            raise ConfigError(self._field, "affinity", problem, remedy)
        if len(set(chosen.values())) == 1:
            return next(iter(chosen.values()))
        if not gpus:
            problem = "differs between GPUs, and gpu_selection: none leaves open which ones a worker uses"
            raise ConfigError(self._field, "affinity", problem, "write gpu_selection: visible-devices, or the NICs")
        return json.dumps({str(number): nics for number, nics in chosen.items()})


def gpu_by_number(host: Host) -> dict[int, Gpu]:
    """Returns the GPUs of a host by the number that its runtime gives them; by their order where that is not known."""
    numbers = [gpu.cuda_index.value for gpu in host.gpus.devices]
    if None in numbers or len(set(numbers)) < len(numbers):
        numbers = [gpu.nvml_index.value for gpu in host.gpus.devices]
    if None in numbers or len(set(numbers)) < len(numbers):
        numbers = list(range(len(host.gpus.devices)))
    return {number: gpu for number, gpu in zip(numbers, host.gpus.devices, strict=True) if number is not None}


def _known_nics(facts: NodeFacts) -> Sequence[str] | None:
    """Returns every RDMA device of a probed host, usable or not, else those that were typed."""
    probed = None if facts.host is None else facts.host.rdma.value
    return facts.nics if probed is None else [nic.name for nic in probed]


def _host(node: str) -> str:
    return node or "this host"
