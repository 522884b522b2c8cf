"""The host's processor as LLVM sees it, and turning a module into functions that can be called."""

from __future__ import annotations

from dataclasses import dataclass

import llvmlite.binding as llvm
import llvmlite.ir as ir

__all__ = ["Machine", "Program", "open_machine"]


@dataclass(frozen=True, slots=True)
class Machine:
    """A processor.

    Attributes:
        name: LLVM's, such as `icelake-server`.
        features: names of what it can do, such as `avx512f`.
    """

    triple: str
    name: str
    features: frozenset[str]

    @property
    def has_vectors(self) -> bool:
        """Whether fused multiply-add on vectors is there: without it every product would be a call."""
        if self.triple.startswith("x86_64"):
            return {"avx2", "fma", "f16c"} <= self.features
        return self.triple.startswith(("aarch64", "arm64"))

    @property
    def dot_lanes(self) -> int:
        """Words of a register that products of bytes are added up in by one instruction; 0 where there is none."""
        if {"avx512vnni", "avx512f"} <= self.features:
            return 16
        return 8 if "avxvnni" in self.features else 0


def open_machine() -> Machine:
    """Returns the processor of this host."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()
    features = llvm.get_host_cpu_features()
    return Machine(
        llvm.get_process_triple(),
        llvm.get_host_cpu_name(),
        frozenset(name for name, there in features.items() if there),
    )


class Program:
    """A compiled module; it lives as long as its functions are called.

    Args:
        cached: object code that `object_code` returned before on the same machine; empty to compile.
    """

    def __init__(self, module: ir.Module, machine: Machine, cached: bytes = b"") -> None:
        target = llvm.Target.from_triple(machine.triple).create_target_machine(
            cpu=machine.name, features=",".join(f"+{name}" for name in sorted(machine.features)), opt=3
        )
        self.object_code = cached
        if not cached:
            parsed = llvm.parse_assembly(str(module))
            parsed.verify()
            options = llvm.create_pipeline_tuning_options(speed_level=2)
            options.loop_vectorization = False
            options.slp_vectorization = False
            options.loop_unrolling = False
            builder = llvm.create_pass_builder(target, options)
            builder.getModulePassManager().run(parsed, builder)
            self.object_code = target.emit_object(parsed)
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target)
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(self.object_code))
        self._engine.finalize_object()

    def address(self, name: str) -> int:
        """Returns where a function stands; 0 when it is not here."""
        return self._engine.get_function_address(name)
