"""Which device a worker takes, and what it says when that is not there."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from pdpanel.engine.arguments import parse_server_arguments
from pdpanel.engine.config import ServerConfig
from pdpanel.engine.errors import ConfigError
from pdpanel.engine.gpu.placement import TorchDevices, device_of


@dataclasses.dataclass
class Fake:
    build: str = "CUDA 12.8"
    gpus: int = 2

    def count(self) -> int:
        return self.gpus


def config(*flags: str) -> ServerConfig:
    return parse_server_arguments(["--model-path", "m", *flags])


@pytest.mark.parametrize(
    ("flags", "devices", "expected"),
    [
        ((), Fake(), "cuda:0"),
        ((), Fake(gpus=0), "cpu"),
        ((), Fake(build="", gpus=0), "cpu"),
        (("--device", "cpu"), Fake(), "cpu"),
        (("--device", "cpu", "--base-gpu-id", "9"), Fake(), "cpu"),
        (("--device", "cuda", "--base-gpu-id", "1"), Fake(), "cuda:1"),
        (("--base-gpu-id", "1"), Fake(build="ROCm 6.4"), "cuda:1"),
    ],
)
def test_a_gpu_is_taken_where_there_is_one(flags: tuple[str, ...], devices: Fake, expected: str) -> None:
    assert device_of(config(*flags), devices) == torch.device(expected)


@pytest.mark.parametrize(
    ("flags", "devices", "words"),
    [
        (("--device", "cuda"), Fake(build="", gpus=0), ("--device", "'cuda'", "CPUs alone", "--device cpu")),
        (("--base-gpu-id", "2"), Fake(build="", gpus=0), ("--base-gpu-id", "2", "CPUs alone", "--device cpu")),
        (("--device", "cuda"), Fake(gpus=0), ("CUDA 12.8", "finds no GPU", "CUDA_VISIBLE_DEVICES", "nvidia-smi")),
        (("--base-gpu-id", "2"), Fake(), ("--base-gpu-id", "2", "0 to 1", "CUDA_VISIBLE_DEVICES")),
        (("--base-gpu-id", "1"), Fake(gpus=1), ("--base-gpu-id", "1", "GPU 0 alone")),
    ],
)
def test_what_is_missing_is_said_with_a_remedy(flags: tuple[str, ...], devices: Fake, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        device_of(config(*flags), devices)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_the_installed_torch_says_what_it_was_built_for() -> None:
    devices = TorchDevices()
    assert devices.build.startswith(("CUDA ", "ROCm ")) or devices.count() == 0


def test_gpu_flags_reach_the_configuration() -> None:
    plain = config()
    assert (plain.device, plain.base_gpu_id, plain.disable_cuda_graph, plain.sized_by_memory) == (
        "auto",
        0,
        False,
        True,
    )
    given = config("--disable-cuda-graph", "--cuda-graph-max-bs", "16", "--max-total-tokens", "4096")
    assert (given.disable_cuda_graph, given.cuda_graph_max_bs) == (True, 16)
    assert (given.sized_by_memory, given.max_total_tokens) == (False, 4096)


@pytest.mark.parametrize("flags", [("--device", "tpu"), ("--base-gpu-id", "-1"), ("--cuda-graph-max-bs", "0")])
def test_values_that_mean_nothing_are_refused(flags: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match=flags[0]):
        config(*flags)
