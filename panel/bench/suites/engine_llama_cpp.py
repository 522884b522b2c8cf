"""The two builds of llama.cpp that install from wheels as contenders: ik-llama-cpp-python and xllamacpp.

The only file that imports them. Both are driven through llama.cpp's own C functions, which the wheels' libraries
export: `llama_decode` over batches, the likeliest token of each row by numpy. Of the structures that the functions take
by value only the first fields are set, which have not moved; the rest stays as the library's own defaults.
"""

from __future__ import annotations

import ctypes
import re
import time
from collections.abc import Sequence
from ctypes import POINTER, c_bool, c_char_p, c_int8, c_int32, c_uint32, c_void_p
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ....engine.errors import ConfigError
from .engine_cases import prompt_of
from .engine_contender import Setup
from .engine_ours import model_of

__all__ = ["IkLlama", "XLlama"]

_WARM_STEPS = 2
# Larger than the structures of any version: a callee reads as much of it as it knows.
_ROOM = 1024
_BATCH_TOKENS = 2048


class _Params(ctypes.Structure):
    """llama_context_params and llama_model_params: what we set of them, and room for the rest."""

    _fields_ = [
        ("n_ctx", c_uint32),
        ("n_batch", c_uint32),
        ("n_ubatch", c_uint32),
        ("n_seq_max", c_uint32),
        ("rest", c_int8 * _ROOM),
    ]


class _Batch(ctypes.Structure):
    """llama_batch; ik_llama.cpp has three numbers after it, which are only read where pointers are null."""

    _fields_ = [
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", c_void_p),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(c_int32))),
        ("logits", POINTER(c_int8)),
        ("rest", c_int32 * 3),
    ]


class _Rows:
    """Sequences in a context of their own, with a filled KV cache that steps start from again and again.

    Args:
        params: of the context, the sizes excepted.
        tokens: of each sequence at most.
    """

    def __init__(self, library: Any, model: int, params: _Params, vocab: int, batch: int, tokens: int) -> None:
        self._lib, self._vocab = library, vocab
        params.n_ctx, params.n_batch, params.n_seq_max = batch * tokens, max(batch * tokens, _BATCH_TOKENS), batch
        self.context = library.llama_init_from_model(model, params)
        if not self.context:
            raise RuntimeError(f"llama.cpp has no memory for {batch} sequences of {tokens} tokens")
        assert library.llama_n_ctx(self.context) >= batch * tokens, "the fields of llama_context_params have moved"
        self._batch = library.llama_batch_init(params.n_batch, 0, 1)

    def use(self, threads: int) -> None:
        """Sets the number of threads of what follows."""
        self._lib.llama_set_n_threads(self.context, threads, threads)

    def compute(self, tokens: Sequence[int], positions: Sequence[int], rows: Sequence[int], wanted: set[int]) -> None:
        """Computes tokens at positions of rows; logits are kept of the wanted ones, by their place."""
        batch = self._batch
        batch.n_tokens = len(tokens)
        for place, (token, position, row) in enumerate(zip(tokens, positions, rows, strict=True)):
            batch.token[place] = token
            batch.pos[place] = position
            batch.n_seq_id[place] = 1
            batch.seq_id[place][0] = row
            batch.logits[place] = place in wanted
        if code := self._lib.llama_decode(self.context, batch):
            raise RuntimeError(f"llama_decode answers {code}")

    def likeliest(self, place: int) -> int:
        """Returns the token with the largest logit at a place of the last batch."""
        found = self._lib.llama_get_logits_ith(self.context, place)
        return int(np.ctypeslib.as_array(found, (self._vocab,)).argmax())

    def prompt(self, ids: Sequence[int], row: int) -> int:
        """Computes a prompt; returns its first token."""
        last = len(ids) - 1
        self.compute(ids, range(len(ids)), [row] * len(ids), {last})
        return self.likeliest(last)

    def step(self, tokens: Sequence[int], position: int) -> list[int]:
        """Computes the token of each row at a position; returns the next ones."""
        rows = range(len(tokens))
        self.compute(tokens, [position] * len(tokens), rows, set(rows))
        return [self.likeliest(place) for place in rows]


class _Forget(Protocol):
    """Removes what a context holds of a sequence from a position on."""

    def __call__(self, context: int, row: int, first: int) -> object: ...


class _LlamaCpp:
    """A library, a model that it loaded, and the contexts of the cases.

    Args:
        library: with llama.cpp's C functions.
        forget: how this version forgets.
        off: places of booleans in the context's parameters that are turned off.
    """

    def __init__(self, setup: Setup, library: Any, forget: _Forget, off: Sequence[int] = ()) -> None:
        found = model_of(setup)
        path = Path(found.source)
        if path.suffix.lower() != ".gguf":
            raise ConfigError("--model", setup.model, "is no GGUF file, which llama.cpp needs", "name one")
        _declare(library)
        self._lib, self._forget, self._off = library, forget, off
        self._setup, self._vocab = setup, found.shape.vocab
        library.llama_backend_init()
        self._model = library.llama_model_load_from_file(bytes(path), library.llama_model_default_params())
        if not self._model:
            raise RuntimeError(f"llama.cpp could not load {path}")
        self._prompts = self._rows(1, setup.longest + 64)
        self._contexts: dict[tuple[int, int], tuple[_Rows, list[int]]] = {}

    def _rows(self, batch: int, tokens: int) -> _Rows:
        params = self._lib.llama_context_default_params()
        for place in self._off:
            c_bool.from_buffer(params, place).value = False
        rows = _Rows(self._lib, self._model, params, self._vocab, batch, tokens)
        rows.use(self._setup.threads)
        return rows

    def about(self) -> dict[str, Any]:
        """Returns the formats, and what the library was built for, in its own words."""
        said = re.findall(r"(\w+) = 1\b", self._lib.llama_print_system_info().decode())
        return {"weights": "as in the file", "kv_dtype": "float16", "built_for": " ".join(said)}

    def prefill(self, prompt: int) -> float:
        """See `engine_worker.Program`."""
        ids = prompt_of(prompt, self._vocab, self._setup.seed)
        self._forget(self._prompts.context, 0, 0)
        began = time.perf_counter()
        self._prompts.prompt(ids, 0)
        return time.perf_counter() - began

    def decode(self, batch: int, context: int, steps: int) -> float:
        """See `engine_worker.Program`."""
        key = (batch, context)
        if key not in self._contexts:
            rows = self._rows(batch, context + steps + _WARM_STEPS + 8)
            rows.use(self._setup.cores)
            ids = prompt_of(context, self._vocab, self._setup.seed)
            self._contexts[key] = rows, [rows.prompt(ids, row) for row in range(batch)]
            rows.use(self._setup.threads)
        rows, tokens = self._contexts[key]
        for row in range(batch):
            self._forget(rows.context, row, context)
        for number in range(_WARM_STEPS):
            tokens = rows.step(tokens, context + number)
        began = time.perf_counter()
        for number in range(_WARM_STEPS, _WARM_STEPS + steps):
            tokens = rows.step(tokens, context + number)
        return (time.perf_counter() - began) / steps


class IkLlama(_LlamaCpp):
    """ik-llama-cpp-python: ik_llama.cpp. Without AVX-VNNI its flash attention is off, as the package itself has it."""

    def __init__(self, setup: Setup) -> None:
        # By name, since a type checker finds them only where the peers are installed.
        api, loader, package = (
            import_module(f"ik_llama_cpp.{part}") for part in ("_ctypes_api", "_lib_loader", "llama")
        )
        library = loader.load_shared_library()
        off = () if package._cpu_has_avx_vnni() else (api.llama_context_params.flash_attn.offset,)

        def forget(context: int, row: int, first: int) -> None:
            library.llama_kv_cache_seq_rm(context, row, first, -1)

        super().__init__(setup, library, forget, off)


class XLlama(_LlamaCpp):
    """xllamacpp: llama.cpp, whose C functions the extension module exports."""

    def __init__(self, setup: Setup) -> None:
        library = ctypes.CDLL(import_module("xllamacpp.xllamacpp").__file__)

        def forget(context: int, row: int, first: int) -> None:
            library.llama_memory_seq_rm(library.llama_get_memory(context), row, first, -1)

        super().__init__(setup, library, forget)


def _declare(library: Any) -> None:
    """Gives the functions their types."""
    for name, result, arguments in (
        ("llama_backend_init", None, ()),
        ("llama_model_default_params", _Params, ()),
        ("llama_context_default_params", _Params, ()),
        ("llama_model_load_from_file", c_void_p, (c_char_p, _Params)),
        ("llama_init_from_model", c_void_p, (c_void_p, _Params)),
        ("llama_n_ctx", c_uint32, (c_void_p,)),
        ("llama_set_n_threads", None, (c_void_p, c_int32, c_int32)),
        ("llama_batch_init", _Batch, (c_int32, c_int32, c_int32)),
        ("llama_decode", c_int32, (c_void_p, _Batch)),
        ("llama_get_logits_ith", POINTER(ctypes.c_float), (c_void_p, c_int32)),
        ("llama_print_system_info", c_char_p, ()),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    for name, arguments in (
        ("llama_kv_cache_seq_rm", (c_void_p, c_int32, c_int32, c_int32)),
        ("llama_memory_seq_rm", (c_void_p, c_int32, c_int32, c_int32)),
    ):
        if hasattr(library, name):
            getattr(library, name).restype, getattr(library, name).argtypes = c_bool, arguments
    if hasattr(library, "llama_get_memory"):
        library.llama_get_memory.restype, library.llama_get_memory.argtypes = c_void_p, (c_void_p,)
