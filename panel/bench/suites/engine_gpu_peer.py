"""transformers' continuous batching on a GPU: the peer of the offline workload, with random weights of one shape.

The only file of the suite that imports transformers. Its own choices stand: CUDA graphs, attention and batch sizes are
what it takes by itself.
"""

from __future__ import annotations

import importlib
import time
from typing import Any

import torch

from ....engine.model.shape import ModelShape
from .engine_gpu_workload import TEMPERATURE, Workload

__all__ = ["ContinuousBatching", "why_no_peer"]

_NAME = "transformers"


def why_no_peer() -> str:
    """Returns what is missing, with the line that installs it; empty when nothing is."""
    try:
        importlib.import_module(_NAME)
    except ImportError as error:
        return f"{_NAME} cannot be imported ({error}): pip install 'transformers>=5.20' accelerate"
    return ""


class ContinuousBatching:
    """A Qwen3 model of this shape under transformers' continuous batching.

    Args:
        blocks: of 256 tokens in its KV cache; None takes what it finds of the device's memory.
    """

    def __init__(self, shape: ModelShape, device: torch.device, blocks: int | None = None) -> None:
        library: Any = importlib.import_module(_NAME)
        config = library.Qwen3Config(
            vocab_size=shape.vocab,
            hidden_size=shape.hidden,
            intermediate_size=shape.ffn,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            max_position_embeddings=shape.context_length,
            tie_word_embeddings=shape.tie_embeddings,
            bos_token_id=None,
            eos_token_id=None,
        )
        self.version = str(library.__version__)
        self._generation: Any = library.GenerationConfig(
            do_sample=True, temperature=TEMPERATURE, eos_token_id=-1, pad_token_id=0
        )
        self._batching: Any = library.ContinuousBatchingConfig(num_blocks=blocks)
        with torch.device(device):
            self._model: Any = library.Qwen3ForCausalLM(config)
        self._model = self._model.to(torch.bfloat16).eval()

    def run(self, workload: Workload) -> float:
        """Returns the seconds that the whole workload takes; starting and warming up are left out.

        Raises:
            RuntimeError: it broke.
        """
        with self._model.continuous_batching_context_manager(
            generation_config=self._generation, continuous_batching_config=self._batching
        ) as manager:
            began = time.perf_counter()
            for prompt, output in zip(workload.prompts, workload.outputs, strict=True):
                manager.add_request(list(prompt), max_new_tokens=output, eos_token_id=-1)
            left, tokens = len(workload.prompts), 0
            while left:
                result = manager.get_result(timeout=1.0)
                if result is None:
                    if not manager.is_running():
                        raise RuntimeError("transformers' continuous batching stopped; see its log")
                    continue
                if result.is_finished():
                    if result.error:
                        raise RuntimeError(f"transformers' continuous batching failed: {result.error}")
                    left -= 1
                    tokens += len(result.generated_tokens)
            seconds = time.perf_counter() - began
        if tokens != workload.output_tokens:
            raise RuntimeError(f"transformers made {tokens} tokens of {workload.output_tokens}")
        return seconds
