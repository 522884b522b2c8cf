from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.gpus.gpu import Gpu, Vendor
from pdpanel.nic_probe.gpus.visible import (
    Choice,
    ascend_choice,
    cuda_choice,
    hip_choice,
    rocr_choice,
    runtime_indices,
    visible_indices,
)
from simulated_host import make_gpu, read

UUIDS = ("GPU-aa00", "GPU-ab11", "GPU-bb22", "")
PLACES = ("0000:9f:00.0", "0000:18:00.0", "0001:03:00.0")


def gpus(vendor: Vendor = Vendor.NVIDIA, count: int = 3) -> list[Gpu]:
    """Returns GPUs in another order than that of the bus, which is 1, 0, 2."""
    return [make_gpu(pci, index, vendor=vendor) for index, pci in enumerate(PLACES[:count])]


def runtime(
    devices: Sequence[Gpu],
    environ: Mapping[str, str],
    *,
    models: Mapping[str, str] | None = None,
    uncounted: Mapping[str, str] | None = None,
    known: Mapping[str, int] | None = None,
) -> list[int | None]:
    indices = runtime_indices(devices, environ, models=models or {}, uncounted=uncounted or {}, known=known or {})
    return [indices[gpu.pci].value for gpu in devices]


def visible(
    devices: Sequence[Gpu],
    environ: Mapping[str, str],
    *,
    uuids: Sequence[str] = (),
    migs: Mapping[str, Sequence[str]] | None = None,
    models: Mapping[str, str] | None = None,
    uncounted: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """Returns each GPU's visible number, or why it has none; `uuids` in the order of `devices`."""
    indices = runtime_indices(devices, environ, models=models or {}, uncounted=uncounted or {}, known={})
    numbered = [replace(gpu, cuda_index=indices[gpu.pci]) for gpu in devices]
    names = dict(zip((gpu.pci for gpu in devices), uuids, strict=False))
    readings = visible_indices(numbered, environ, uuids=names, migs=migs or {})
    return {
        pci: f"{reading.source} {reading.reason}" if reading.value is None else reading.value
        for pci, reading in readings.items()
    }


# CUDA's numbers


def test_equal_models_are_numbered_in_the_order_of_the_bus() -> None:
    assert runtime(gpus(), {}) == [1, 0, 2]


def test_different_models_have_no_order_until_the_variable_gives_one() -> None:
    models = {PLACES[0]: "A", PLACES[1]: "B", PLACES[2]: "A"}
    assert runtime(gpus(), {}, models=models) == [None] * 3
    assert runtime(gpus(), {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, models=models) == [None] * 3
    assert runtime(gpus(), {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, models=models) == [1, 0, 2]
    reading = runtime_indices(gpus(), {}, models=models, uncounted={}, known={})[PLACES[0]]
    assert "set CUDA_DEVICE_ORDER=PCI_BUS_ID" in reading.reason


@pytest.mark.parametrize(("listed", "seen"), [("1", [0, None, None]), ("2,0", [None, 1, 0]), ("", [None] * 3)])
def test_an_order_that_is_set_does_not_undo_the_list(listed: str, seen: list[int | None]) -> None:
    """The numbers of CUDA_VISIBLE_DEVICES then mean places on the bus, whether or not the models are alike."""
    environ = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": listed}
    for models in ({}, {PLACES[0]: "A", PLACES[1]: "B", PLACES[2]: "A"}):
        indices = runtime_indices(gpus(), environ, models=models, uncounted={}, known={})
        numbered = [replace(gpu, cuda_index=indices[gpu.pci]) for gpu in gpus()]
        visible = visible_indices(numbered, environ, uuids={}, migs={})
        assert [visible[pci].value for pci in PLACES] == seen


def test_a_gpu_that_the_runtime_does_not_see_takes_no_number() -> None:
    assert runtime(gpus(), {}, uncounted={PLACES[1]: "is bound to vfio-pci"}) == [0, None, 1]


def test_rocm_counts_in_the_order_of_the_driver() -> None:
    known = {PLACES[0]: 0, PLACES[1]: 2, PLACES[2]: 1}
    assert runtime(gpus(Vendor.AMD), {}, known=known) == [0, 2, 1]
    assert runtime(gpus(Vendor.AMD), {}) == [1, 0, 2]


def test_vendors_are_counted_apart() -> None:
    mixed = [*gpus(count=2), make_gpu("0000:01:00.0", vendor=Vendor.AMD), make_gpu("0000:02:00.0", vendor=Vendor.INTEL)]
    assert runtime(mixed, {}) == [1, 0, 0, None]


# What CUDA_VISIBLE_DEVICES leaves


@pytest.mark.parametrize(
    ("text", "devices", "problem"),
    [
        ("0,1,2,3", (0, 1, 2, 3), ""),
        ("2, 0", (2, 0), ""),
        ("1,9,0", (1,), "ends at '9'"),
        ("1,-1,0", (1,), "ends at '-1'"),
        ("-1", (), "ends at '-1'"),
        ("NoDevFiles", (), "ends at 'NoDevFiles'"),
        ("1gpu2,2ampere", (1, 2), ""),
        ("0,1,0", (), "names '0' twice"),
        ("GPU-bb22,GPU-aa00", (2, 0), ""),
        ("GPU-b,GPU-aa", (2, 0), ""),
        ("GPU-bb22,GPU-a,GPU-ab11", (2,), "ends at 'GPU-a'"),
        ("GPU-bb22,1", (2,), "ends at '1'"),
        ("GPU-bb,GPU-bb22", (), "names 'GPU-bb22' twice"),
        ("0,GPU-bb22", (0,), "ends at 'GPU-bb22'"),
        ("MIG-two", (1,), ""),
        ("MIG-two,MIG-one", (1,), ""),
        ("MIG-GPU-bb22/1/0", (2,), ""),
        ("MIG-none", (), "ends at 'MIG-none'"),
        (",0", (), "ends at ''"),
    ],
)
def test_cuda(text: str, devices: tuple[int, ...], problem: str) -> None:
    choice = cuda_choice(text, UUIDS, ((), ("MIG-one", "MIG-two"), (), ()))
    assert choice.devices == devices
    assert choice.problem.startswith(problem)
    assert bool(choice.problem) == bool(problem)


@pytest.mark.parametrize(
    ("text", "devices", "problem"),
    [
        ("1,0", (1, 0), ""),
        ("0x1, 00", (1, 0), ""),
        ("1,1,0", (1,), "ends at '1', which it has named before"),
        ("0,4", (0,), "ends at '4'"),
        ("0,08", (0,), "ends at '08'"),
        ("gpu-BB22,0", (2, 0), ""),
        ("GPU-a", (), "ends at 'GPU-a'"),
        ("GPU-", (), "ends at 'GPU-'"),
        ("1gpu", (), "ends at '1gpu'"),
        ("", (), "ends at ''"),
    ],
)
def test_rocr(text: str, devices: tuple[int, ...], problem: str) -> None:
    choice = rocr_choice(text, UUIDS)
    assert choice.devices == devices
    assert choice.problem.startswith(problem)


@pytest.mark.parametrize(
    ("text", "devices", "problem"),
    [
        ("1,0", (1, 0), ""),
        ("1,1,0", (1, 0), ""),
        ("1,0,", (1, 0), ""),
        ("1, 0", (1,), "ends at ' 0'"),
        ("01", (), "ends at '01'"),
        ("-1", (), "ends at '-1'"),
        ("GPU-bb,0", (2, 0), ""),
        ("4", (), "ends at '4'"),
    ],
)
def test_hip(text: str, devices: tuple[int, ...], problem: str) -> None:
    choice = hip_choice(text, UUIDS)
    assert choice.devices == devices
    assert choice.problem.startswith(problem)


@pytest.mark.parametrize(("text", "devices"), [("3,1", (3, 1)), ("1,x,2", (1,)), ("1,1", (1,)), ("8", ())])
def test_ascend(text: str, devices: tuple[int, ...]) -> None:
    assert ascend_choice(text, 8).devices == devices


ENTRY = st.one_of(
    st.integers(-2, 6).map(str),
    st.sampled_from(["GPU-aa00", "GPU-a", "GPU-", "MIG-one", "", " 1", "0x2", "1gpu", "9" * 40]),
    st.text(max_size=6),
)
LIST = st.lists(ENTRY, max_size=6).map(",".join)
RULES = {
    "cuda": lambda text: cuda_choice(text, UUIDS, ((), ("MIG-one",), (), ())),
    "rocr": lambda text: rocr_choice(text, UUIDS),
    "hip": lambda text: hip_choice(text, UUIDS),
    "ascend": lambda text: ascend_choice(text, len(UUIDS)),
}


@given(st.sampled_from(sorted(RULES)), LIST)
def test_no_list_shows_a_device_twice_or_one_that_is_not_there(rule: str, text: str) -> None:
    choice = RULES[rule](text)
    assert len(set(choice.devices)) == len(choice.devices)
    assert set(choice.devices) <= set(range(len(UUIDS)))


@given(st.sampled_from(sorted(RULES)), st.permutations(range(len(UUIDS))), st.integers(1, 4), LIST)
def test_a_list_of_numbers_gives_their_order_up_to_what_is_no_device(
    rule: str, order: list[int], length: int, rest: str
) -> None:
    numbers = order[:length]
    text = ",".join(map(str, numbers))
    assert RULES[rule](text) == Choice(tuple(numbers))
    assert RULES[rule](f"{text},nothing,{rest}").devices == tuple(numbers)


@given(st.sampled_from(sorted(RULES)), LIST)
def test_what_hides_a_named_device_is_said(rule: str, text: str) -> None:
    choice = RULES[rule](text)
    if not choice.devices:
        assert choice.problem


# All of it on a host's GPUs


def test_without_a_variable_every_gpu_keeps_its_number() -> None:
    assert visible(gpus(), {}) == {PLACES[0]: 1, PLACES[1]: 0, PLACES[2]: 2}


def test_numbers_are_those_of_cudas_order() -> None:
    hidden = "CUDA_VISIBLE_DEVICES reads '2,0' and does not name it"
    assert visible(gpus(), {"CUDA_VISIBLE_DEVICES": "2,0"}) == {PLACES[0]: hidden, PLACES[1]: 1, PLACES[2]: 0}


def test_an_empty_list_hides_every_gpu() -> None:
    reasons = set(visible(gpus(), {"CUDA_VISIBLE_DEVICES": ""}).values())
    assert reasons == {"CUDA_VISIBLE_DEVICES is empty, which hides every device"}


def test_why_a_gpu_is_hidden_names_the_entry_that_ended_the_list() -> None:
    answer = visible(gpus(), {"CUDA_VISIBLE_DEVICES": "1,7,0"})
    assert answer[PLACES[0]] == 0
    assert answer[PLACES[1]] == "CUDA_VISIBLE_DEVICES reads '1,7,0' and ends at '7', which is no device here"


def test_uuids_are_known_where_numbers_are_not() -> None:
    models = {pci: pci for pci in PLACES}
    by_uuid = visible(gpus(), {"CUDA_VISIBLE_DEVICES": "GPU-c,GPU-a"}, uuids=("GPU-a", "GPU-b", "GPU-c"), models=models)
    assert (by_uuid[PLACES[0]], by_uuid[PLACES[2]]) == (1, 0)
    by_number = visible(gpus(), {"CUDA_VISIBLE_DEVICES": "0"}, models=models)
    assert all("CUDA_DEVICE_ORDER" in str(reason) for reason in by_number.values())
    nothing = visible(gpus(), {"CUDA_VISIBLE_DEVICES": "-1"}, models=models)
    assert all(str(reason).startswith("CUDA_VISIBLE_DEVICES reads '-1'") for reason in nothing.values())


def test_a_gpu_that_is_split_needs_a_name() -> None:
    split = replace(gpus()[0], health=replace(gpus()[0].health, mig=read(True)))
    devices = [split, *gpus()[1:]]
    assert "name one there" in str(visible(devices, {})[PLACES[0]])
    named = visible(devices, {"CUDA_VISIBLE_DEVICES": "MIG-x"}, migs={PLACES[0]: ("MIG-x",)})
    assert named[PLACES[0]] == 0


def test_nothing_is_said_of_a_gpu_that_the_runtime_does_not_see() -> None:
    answer = visible(gpus(), {"CUDA_VISIBLE_DEVICES": "0,1"}, uncounted={PLACES[1]: "does not see it"})
    assert answer == {PLACES[0]: 0, PLACES[1]: "CUDA does not see it", PLACES[2]: 1}


def test_hip_selects_from_what_rocr_left() -> None:
    environ = {"ROCR_VISIBLE_DEVICES": "2,0", "HIP_VISIBLE_DEVICES": "1"}
    answer = visible(gpus(Vendor.AMD), environ)
    # The bus order is 1, 0, 2: ROCR leaves the third and then the second place, HIP the latter.
    assert answer[PLACES[1]] == 0
    assert answer[PLACES[2]] == "HIP_VISIBLE_DEVICES reads '1' and does not name it"
    assert answer[PLACES[0]] == "ROCR_VISIBLE_DEVICES reads '2,0' and does not name it"


@pytest.mark.parametrize(
    ("environ", "shown"),
    [
        ({"HIP_VISIBLE_DEVICES": "", "CUDA_VISIBLE_DEVICES": "1"}, [0, None, None]),
        ({"HIP_VISIBLE_DEVICES": "0", "CUDA_VISIBLE_DEVICES": "1"}, [None, 0, None]),
        ({"CUDA_VISIBLE_DEVICES": ""}, [1, 0, 2]),
        ({"ROCR_VISIBLE_DEVICES": ""}, [None, None, None]),
        ({"ASCEND_RT_VISIBLE_DEVICES": ""}, [1, 0, 2]),
    ],
)
def test_which_variable_counts_for_amd(environ: dict[str, str], shown: list[int | None]) -> None:
    answer = visible(gpus(Vendor.AMD), environ)
    assert [value if isinstance(value, int) else None for value in (answer[pci] for pci in PLACES)] == shown


def test_ascends_variable_is_its_own() -> None:
    answer = visible(gpus(Vendor.HUAWEI), {"ASCEND_RT_VISIBLE_DEVICES": "2", "CUDA_VISIBLE_DEVICES": ""})
    assert answer[PLACES[2]] == 0
    assert "ASCEND_RT_VISIBLE_DEVICES" in str(answer[PLACES[0]])
