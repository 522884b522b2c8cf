from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.gpus.answers import Answers, read_answers
from pdpanel.nic_probe.gpus.gpu import Vendor


def row(pci: str = "0000:18:00.0", **values: Any) -> dict[str, Any]:
    return {"pci": {"value": pci}, **{name: {"value": value} for name, value in values.items()}}


def document(*rows: Any, library: str = "NVML", **head: Any) -> dict[str, Any]:
    return {"libraries": {library: {"reason": "", "notes": [], "gpus": list(rows), **head}}}


def test_values_and_reasons() -> None:
    gpu = row(index=3, name="NVIDIA H200", power_w=80.123456, throttle_reasons=["SwPowerCap"]) | {
        "uuid": {"reason": "not supported"}
    }
    answers = read_answers(document(gpu, driver_version={"value": "570.1"}, count={"value": 1}))
    (said,) = answers.gpus.values()
    assert (said.pci, said.library, said.vendor) == ("0000:18:00.0", "NVML", Vendor.NVIDIA)
    assert (said.readings["index"].value, said.readings["name"].value) == (3, "NVIDIA H200")
    assert (said.readings["power_w"].value, said.readings["throttle_reasons"].value) == (80.123, ("SwPowerCap",))
    assert (said.readings["uuid"].source, said.readings["uuid"].reason) == ("NVML", "not supported")
    assert said.readings["fabric"].reason == "was not asked for it"
    library = answers.library("NVML")
    assert library is not None
    assert (library.driver_version.value, library.count.value) == ("570.1", 1)
    assert answers.notes == ()


def test_a_library_that_says_nothing() -> None:
    answers = read_answers({"libraries": {"NVML": {"reason": "cannot be asked: Driver Not Loaded"}}})
    library = answers.library("NVML")
    assert library is not None
    assert library.reason == "cannot be asked: Driver Not Loaded"
    assert library.driver_version.reason == "cannot be asked: Driver Not Loaded"
    assert answers.library("AMD SMI") is None


def test_processes() -> None:
    processes = [
        {"pid": 5, "name": {"value": "vllm"}, "memory_bytes": {"value": 9}},
        {"pid": 6, "name": {"reason": "is hidden"}, "memory_bytes": {"value": -1}},
        {"pid": "x"},
        None,
    ]
    (gpu,) = read_answers(document(row(processes=processes))).gpus.values()
    first, second = gpu.readings["processes"].otherwise(())
    assert (first.pid, first.name.value, first.memory_bytes.value) == (5, "vllm", 9)
    assert (second.name.reason, second.memory_bytes.known) == ("is hidden", False)


# Libraries that lie


def test_memory_that_cannot_be() -> None:
    rows = [
        row("0000:18:00.0", memory_total_bytes=0, memory_used_bytes=0),
        row("0000:19:00.0", memory_total_bytes=100, memory_used_bytes=101),
        row("0000:1a:00.0", memory_total_bytes=1 << 60, memory_used_bytes=5),
    ]
    answers = read_answers(document(*rows))
    first, second, third = answers.gpus.values()
    assert first.readings["memory_total_bytes"].reason == "reads 0, which no GPU has"
    assert second.readings["memory_total_bytes"].value == 100
    assert second.readings["memory_used_bytes"].reason == "reads 101, more than the GPU has"
    assert not third.readings["memory_total_bytes"].known
    assert answers.notes == (
        "NVML gives 0000:18:00.0 0 bytes of memory.",
        "NVML says that 101 of the 100 bytes of 0000:19:00.0 are used.",
    )


def test_two_gpus_with_one_uuid_are_noted_and_kept() -> None:
    answers = read_answers(document(row("0000:18:00.0", uuid="GPU-1"), row("0000:19:00.0", uuid="GPU-1")))
    assert len(answers.gpus) == 2
    assert answers.notes == ("2 GPUs have the UUID GPU-1: do not tell them apart by it.",)


def test_two_gpus_at_one_address_are_one() -> None:
    answers = read_answers(document(row(name="first"), row(name="second")))
    (gpu,) = answers.gpus.values()
    assert gpu.readings["name"].value == "first"
    assert answers.notes == ("NVML names two GPUs at 0000:18:00.0, of which the first counts.",)


def test_a_gpu_without_an_address_is_a_note() -> None:
    answers = read_answers(document({"index": {"value": 2}, "pci": {"reason": "gpu is lost"}}))
    assert answers.gpus == {}
    assert answers.notes == ("NVML does not say where GPU 2 sits: gpu is lost.",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("busy_percent", 4294967295),
        ("temperature_c", 10_000),
        ("power_w", float("nan")),
        ("power_w", float("inf")),
        ("ecc_enabled", 1),
        ("index", True),
        ("name", ["a"]),
        ("nvlinks_active", -1),
        ("processes", {"pid": 1}),
        ("throttle_reasons", "SwPowerCap"),
    ],
)
def test_a_value_of_the_wrong_kind_has_a_reason(name: str, value: Any) -> None:
    (gpu,) = read_answers(document(row(**{name: value}))).gpus.values()
    assert gpu.readings[name].value is None
    assert "which cannot be" in gpu.readings[name].reason


def test_control_characters_do_not_pass() -> None:
    (gpu,) = read_answers(document(row(name="H100\x1b[31m\n"))).gpus.values()
    assert gpu.readings["name"].value == "H100?[31m?"


# Dumps


def test_the_rows_of_nvidia_smi_in_a_dump() -> None:
    rows = [
        {
            "index": 1,
            "uuid": "GPU-1",
            "name": "NVIDIA L40S",
            "pci": "00000000:AB:00.0",
            "memory_total_bytes": 46068 << 20,
            "memory_used_bytes": None,
            "driver_version": "550.54.15",
        }
    ]
    answers = read_answers({"nvidia_smi": rows})
    (gpu,) = answers.gpus.values()
    assert (gpu.pci, gpu.vendor, gpu.library) == ("0000:ab:00.0", Vendor.NVIDIA, "nvidia-smi")
    assert (gpu.readings["index"].value, gpu.readings["memory_total_bytes"].value) == (1, 46068 << 20)
    assert not gpu.readings["memory_used_bytes"].known
    library = answers.library("nvidia-smi")
    assert library is not None
    assert library.driver_version.value == "550.54.15"


@pytest.mark.parametrize(
    "wrong", [None, [], "x", {}, {"libraries": []}, {"libraries": {"NVML": 5}}, {"nvidia_smi": {}}]
)
def test_a_document_without_answers(wrong: object) -> None:
    assert read_answers(wrong) == Answers()


NAMES = ["NVML", "AMD SMI", "npu-smi", "torch", "libraries", "nvidia_smi", "notes", "gpus", "pci", "value", "reason"]
NAMES += ["index", "uuid", "name", "vendor", "memory_total_bytes", "processes", "pid", "count", "mig_uuids", "power_w"]
LEAF = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["0000:18:00.0", "NVIDIA", "GPU-1"])
)
JSON = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner),
    max_leaves=24,
)


@given(JSON)
def test_no_document_is_too_odd(value: Any) -> None:
    for wrapped in (
        value,
        {"libraries": {"NVML": value}},
        {"libraries": {"NVML": {"gpus": [value]}}},
        {"nvidia_smi": [value]},
    ):
        answers = read_answers(json.loads(json.dumps(wrapped)))
        for gpu in answers.gpus.values():
            assert all(reading.known or reading.reason for reading in gpu.readings.values())
