"""Which path a worker computes on, and that it says why."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pdpanel.engine.config import ServerConfig, read_environment
from pdpanel.engine.execution import open_cpu_executor
from pdpanel.engine.kv import KVCache
from pdpanel.engine.model.executor import Executor, TokenSpan
from pdpanel.engine.model.store import ResolvedModel, resolve_model
from pdpanel.engine.native import machine

from .conftest import TinyModel, WriteGguf

CONFIG = ServerConfig(model_path="tiny", kv_cache_dtype="float32")


@pytest.fixture
def resolved(tmp_path: Path, write_gguf: WriteGguf) -> ResolvedModel:
    return resolve(tmp_path, write_gguf, TinyModel(hidden=64, heads=2, kv_heads=1, ffn=96))


def resolve(folder: Path, write_gguf: WriteGguf, tiny: TinyModel) -> ResolvedModel:
    path = write_gguf(folder / "tiny.gguf", tiny.make_weights())
    return resolve_model(path, read_environment({"PDPANEL_CACHE_DIR": str(folder / "cache")}))


def opened(model: ResolvedModel, config: ServerConfig) -> Executor:
    return open_cpu_executor(config, model.shape, model.directory, 64, model.directory / "kernels")


def test_native_kernels_are_the_default_and_agree_with_torch(resolved: ResolvedModel) -> None:
    ours, exact = opened(resolved, CONFIG), opened(resolved, replace(CONFIG, quantization="none"))
    assert (ours.info.executor, ours.info.attention, ours.info.reason) == ("native", "native", "")
    assert exact.info.executor == "torch"
    found = []
    for executor in (ours, exact):
        kv = KVCache(resolved.shape, pages=4, page_size=16, dtype=torch.float32, staging=False)
        with torch.inference_mode():
            found.append(executor.forward([TokenSpan(list(range(1, 30)), 0, 0, True)], kv))
    torch.testing.assert_close(found[0], found[1], atol=0.1, rtol=0.1)  # eight bits a weight, not thirty-two


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"quantization": "none"}, "--quantization none asks for weights as they are"),
        ({"dtype": "float32"}, "--dtype float32 asks for weights of that type"),
        ({"quantization": "int8", "dtype": "bfloat16"}, "the native kernels compute in float32, and --dtype bfloat16"),
    ],
)
def test_arguments_that_want_torch_get_it_with_the_reason(
    resolved: ResolvedModel, changes: dict[str, str], reason: str
) -> None:
    info = opened(resolved, replace(CONFIG, **changes)).info  # type: ignore[arg-type]
    assert info.executor == "torch"
    assert info.reason.startswith(reason)


def test_float32_with_a_quantization_is_native(resolved: ResolvedModel) -> None:
    info = opened(resolved, replace(CONFIG, quantization="int4", dtype="float32")).info
    assert (info.executor, info.weights) == ("native", "int4-g32, head int8-g32")


def test_shapes_that_do_not_fit_fall_back(tmp_path: Path, write_gguf: WriteGguf) -> None:
    model = resolve(tmp_path, write_gguf, TinyModel(hidden=64, heads=4, kv_heads=2, ffn=96))
    info = opened(model, CONFIG).info
    assert info.executor == "torch"
    assert info.reason == "the native kernels cannot compute this model: its head size of 16 is no multiple of 32"


def test_a_processor_without_vectors_falls_back(resolved: ResolvedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    old = machine.Machine("x86_64-unknown-linux-gnu", "nehalem", frozenset({"sse4.2"}))
    monkeypatch.setattr(machine, "open_machine", lambda: old)
    assert opened(resolved, CONFIG).info.reason == "this CPU (nehalem) has no AVX2 with FMA, or NEON"


def test_without_llvmlite_it_falls_back_and_says_what_to_install(
    resolved: ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("pdpanel.engine.native")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)
    info = opened(resolved, CONFIG).info
    assert info.executor == "torch"
    assert "install it for faster kernels" in info.reason


def test_compiled_kernels_are_kept_and_a_folder_that_cannot_be_written_costs_only_time(
    resolved: ResolvedModel, tmp_path: Path
) -> None:
    def kept() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in resolved.directory.glob("kernels/kernels/*")}

    opened(resolved, CONFIG)
    first = kept()
    assert {name.partition("-")[0] for name in first} == {"linear", "heads"}
    opened(resolved, CONFIG)
    assert kept() == first
    blocked = tmp_path / "a file"
    blocked.write_text("")
    executor = open_cpu_executor(CONFIG, resolved.shape, resolved.directory, 64, blocked)
    assert executor.info.executor == "native"
