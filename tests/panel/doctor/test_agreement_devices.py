"""Rules on GPUs and NICs: each fires on its condition and not beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from pdpanel.nic_probe.finding import Finding, Severity
from pdpanel.nic_probe.host import Host
from pdpanel.nic_probe.topology.survey import Topology
from pdpanel.panel.doctor import agreement_devices
from pdpanel.panel.doctor.agreement import check_agreement
from pdpanel.panel.doctor.agreement_devices import gpu_count, gpus_of
from pdpanel.panel.doctor.command import parse_command, parse_script
from pdpanel.panel.doctor.log_arguments import arguments_of_log
from simulated_host import make_gpu, make_host, make_nic, make_port, read

Table = Callable[[Iterable[Finding]], dict[str, Finding]]
ERROR, WARNING = Severity.ERROR, Severity.WARNING

P = "python -m sglang.launch_server --disaggregation-mode prefill "
D = "python -m sglang.launch_server --disaggregation-mode decode --port 30001 "
GPUS = ("0000:18:00.0", "0000:3a:00.0", "0000:9a:00.0", "0000:ba:00.0")
NEAR = {GPUS[0]: ("mlx5_0",), GPUS[1]: ("mlx5_1",), GPUS[2]: ("mlx5_2",), GPUS[3]: ("mlx5_3",)}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Four GPUs, each with a NIC beside it; mlx5_3 is down."""
    gpus = tuple(make_gpu(pci, number) for number, pci in enumerate(GPUS))
    nics = [make_nic(f"mlx5_{number}") for number in range(3)]
    down = make_nic(
        "mlx5_3", ports=(make_port(usable=False, why_not="is DOWN"),), usable=False, why_not="port 1 is DOWN"
    )
    return make_host(tmp_path, gpus, (*nics, down), name=read("node1"))


@pytest.fixture
def topology() -> Topology:
    return Topology((), (), {}, {}, NEAR, {})


FIRES: list[tuple[str, Severity, str]] = [
    ("gpu-shared", ERROR, f"{P}\n{D}"),
    ("gpu-shared", ERROR, f"{P}--tp 2\n{D}--tp 2 --base-gpu-id 1"),
    ("gpu-shared", ERROR, f"CUDA_VISIBLE_DEVICES=2,3 {P}--tp 2\nCUDA_VISIBLE_DEVICES=3 {D}"),
    ("gpu-shared", WARNING, f"{P}--host 0.0.0.0\n{D}--host 0.0.0.0"),
    ("gpu-shared", WARNING, "vllm serve m --port 1\nvllm serve m --port 2"),
    ("gpu-missing", ERROR, f"{P}--tp 8"),
    ("gpu-missing", ERROR, f"{P}--base-gpu-id 4"),
    ("gpu-missing", ERROR, f"CUDA_VISIBLE_DEVICES=0,1 {P}--base-gpu-id 2"),
    ("gpu-missing", ERROR, f"CUDA_VISIBLE_DEVICES=GPU-ffff {P}"),
    ("dp-without-attention", ERROR, f"{P}--tp-size 8 --dp-size 8"),
    ("dp-without-attention", WARNING, f"{P}--tp-size 2 --dp-size 2"),
    ("dp-without-attention", ERROR, f"{P}--tp-size 2 --dp-size 2 --moe-a2a-backend mooncake"),
    ("ib-device-unknown", ERROR, f"{P}--disaggregation-ib-device mlx5_9"),
    ("ib-device-unknown", ERROR, f"{P}--disaggregation-ib-device mlx5_0:1"),
    ("ib-device-unknown", ERROR, f"""{P}--disaggregation-ib-device '{{"0": "mlx5_0,mlx5_8"}}'"""),
    ("ib-device-unusable", WARNING, f"{P}--disaggregation-ib-device mlx5_3"),
    ("ib-device-crosses-rails", WARNING, f"{P}--tp 2 --disaggregation-ib-device mlx5_0,mlx5_1"),
    ("ib-device-crosses-rails", WARNING, f"{P}--disaggregation-ib-device mlx5_0,mlx5_2"),
]
SILENT: list[tuple[str, str]] = [
    ("gpu-shared", f"{P}\n{D}--base-gpu-id 1"),
    ("gpu-shared", f"CUDA_VISIBLE_DEVICES=0 {P}\nCUDA_VISIBLE_DEVICES=1 {D}"),
    ("gpu-shared", f"{P}--host 10.0.0.1\n{D}--host 10.0.0.2"),
    ("gpu-shared", f"{P}--device cpu\n{D}--device cpu"),
    ("gpu-shared", "python -m pdpanel.engine.launch_server\npython -m pdpanel.engine.launch_server --port 2"),
    ("gpu-missing", f"{P}--tp 4"),
    ("gpu-missing", f"{P}--tp 8 --host 10.9.9.9"),
    ("gpu-missing", f"CUDA_VISIBLE_DEVICES=GPU-00000002-0000-0000-0000-000000000000 {P}"),
    ("gpu-missing", f"CUDA_VISIBLE_DEVICES=GPU-00000002 {P}"),
    ("gpu-named-by-number", f"CUDA_VISIBLE_DEVICES=1 {P}"),
    ("dp-without-attention", f"{P}--tp-size 8 --dp-size 8 --enable-dp-attention"),
    ("dp-without-attention", f"{P}--tp-size 8 --attn-dp-size 8"),
    ("ib-device-unknown", f"{P}--disaggregation-ib-device mlx5_0,mlx5_1"),
    ("ib-device-unknown", f"{P}--disaggregation-ib-device /etc/map.json"),
    ("ib-device-unknown", f"MC_FORCE_TCP=1 {P}--disaggregation-ib-device mlx5_9"),
    ("ib-device-unknown", f"{P}--host 10.9.9.9 --disaggregation-ib-device erdma_0"),
    ("ib-device-unusable", f"{P}--disaggregation-ib-device mlx5_0"),
    ("ib-device-crosses-rails", f"{P}--disaggregation-ib-device mlx5_0"),
    ("ib-device-crosses-rails", f"""{P}--tp 2 --disaggregation-ib-device '{{"0":"mlx5_0","1":"mlx5_1"}}'"""),
]


@pytest.mark.parametrize(("rule", "severity", "script"), FIRES)
def test_a_rule_fires(rule: str, severity: Severity, script: str, host: Host, topology: Topology, by_id: Table) -> None:
    finding = by_id(check_agreement(parse_script(script), host, topology))[rule]
    assert finding.severity is severity
    assert finding.remedy


@pytest.mark.parametrize(("rule", "script"), SILENT)
def test_a_rule_is_silent(rule: str, script: str, host: Host, topology: Topology, by_id: Table) -> None:
    assert rule not in by_id(check_agreement(parse_script(script), host, topology))


def test_every_rule_is_tried() -> None:
    rules = {check.rule.id for check in agreement_devices.CHECKS}
    assert {row[0] for row in FIRES} | {"gpu-named-by-number"} == {row[0] for row in SILENT} == rules


def test_numbers_that_differ_between_cuda_and_nvml_are_told(tmp_path: Path, by_id: Table) -> None:
    gpus = (
        make_gpu(GPUS[0], 0, cuda_index=read(1), name=read("NVIDIA T4")),
        make_gpu(GPUS[1], 1, cuda_index=read(0)),
    )
    host = make_host(tmp_path, gpus)
    named = by_id(check_agreement(parse_script(f"CUDA_VISIBLE_DEVICES=1 {P}"), host))
    assert named["gpu-named-by-number"].severity is WARNING
    ordered = f"CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES=1 {P}"
    assert "gpu-named-by-number" not in by_id(check_agreement(parse_script(ordered), host))


def test_a_flat_list_is_corrected_to_a_map(host: Host, topology: Topology, by_id: Table) -> None:
    script = f"CUDA_VISIBLE_DEVICES=2,3 {P}--tp 2 --disaggregation-ib-device mlx5_0,mlx5_2"
    finding = by_id(check_agreement(parse_script(script), host, topology))["ib-device-crosses-rails"]
    assert finding.corrected == '{"0":"mlx5_2","1":"mlx5_3"}'


def test_a_log_does_not_tell_which_gpus_were_visible(by_id: Table) -> None:
    line = "server_args={'model_path': 'm', 'host': '10.0.0.1', 'port': %d, 'disaggregation_mode': '%s'}"
    workers = (
        *arguments_of_log([line % (30000, "prefill")], "p.log"),
        *arguments_of_log([line % (30001, "decode")], "d.log"),
    )
    finding = by_id(check_agreement(workers))["gpu-shared"]
    assert finding.severity is WARNING
    assert "CUDA_VISIBLE_DEVICES" in finding.reason


@pytest.mark.parametrize(
    ("command", "gpus"),
    [
        (P, ("0",)),
        (P + "--tp 2 --pp-size 2", ("0", "1", "2", "3")),
        (P + "--tp 2 --dp-size 2", ("0", "1", "2", "3")),
        (P + "--tp 4 --dp-size 2 --enable-dp-attention", ("0", "1", "2", "3")),
        (P + "--tp 4 --nnodes 2", ("0", "1")),
        (P + "--tp 2 --base-gpu-id 2 --gpu-id-step 2", ("2", "4")),
        ("CUDA_VISIBLE_DEVICES=5,7 " + P + "--tp 2", ("5", "7")),
        ("CUDA_VISIBLE_DEVICES=5 " + P + "--tp 2", ("5", ">1")),
        ("CUDA_VISIBLE_DEVICES=$X " + P, ("0",)),
        ("vllm serve m -tp 2 --data-parallel-size 4 --data-parallel-size-local 2", ("0", "1", "2", "3")),
        ("python -m pdpanel.engine.launch_server", ()),
        ("python -m sglang_router.launch_router", ()),
        (P + "--tp 99999999999999", tuple(str(number) for number in range(1024))),
    ],
)
def test_the_gpus_of_a_command(command: str, gpus: tuple[str, ...]) -> None:
    worker = parse_command(command)
    assert worker is not None
    assert gpus_of(worker) == gpus
    assert gpu_count(worker) == len(gpus)
