"""transformers as a contender, in float32: its models called directly, and its continuous batching.

The only file that imports transformers. Directly means a loop over the model with a `DynamicCache`, which is what
`generate` does without its own overhead. A GGUF file becomes the same float32 tensors that our engine reads.
"""

from __future__ import annotations

import copy
import logging
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.cache_utils import DynamicCache
from transformers.generation.configuration_utils import ContinuousBatchingConfig, GenerationConfig

from ....engine.errors import ConfigError
from ....engine.model.shape import ModelShape
from ....engine.model.store import ResolvedModel
from ....engine.model.weights import Weights, load_weights
from .engine_cases import prompt_of
from .engine_contender import Setup
from .engine_ours import model_of

__all__ = ["Continuous", "Direct", "load_model"]

_WARM_STEPS = 2
_RESULT_S = 300.0


def load_model(model: ResolvedModel) -> Any:
    """Returns the model in float32.

    Raises:
        ConfigError: it comes from a GGUF file of an architecture that has no rule here.
    """
    if Path(model.source).is_dir():
        return transformers.AutoModelForCausalLM.from_pretrained(model.source, dtype=torch.float32).eval()
    shape = model.shape
    if shape.architecture != "LlamaForCausalLM" or shape.rope_scaling is not None:
        problem = f"transformers is given no {shape.architecture} from a GGUF file here"
        raise ConfigError("--model", str(model.source), problem, "name the model's folder instead")
    config = transformers.LlamaConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=shape.context_length,
        rms_norm_eps=shape.rms_eps,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=shape.tie_embeddings,
        bos_token_id=None,
        eos_token_id=None,
    )
    with torch.device("meta"):
        made = transformers.LlamaForCausalLM(config)
    tensors = _state(load_weights(model.directory, shape), shape)
    # The rotary tables are no part of the state and lie on the meta device, too.
    made.model.rotary_emb = type(made.model.rotary_emb)(config=config)
    made.load_state_dict(tensors, strict=False, assign=True)
    if shape.tie_embeddings:
        made.lm_head.weight = made.model.embed_tokens.weight
    left = [name for name, tensor in (*made.named_parameters(), *made.named_buffers()) if tensor.is_meta]
    assert not left, left
    return made.eval()


def _state(weights: Weights, shape: ModelShape) -> dict[str, torch.Tensor]:
    """Returns the tensors by transformers' names, in memory of their own as a loaded model has them."""
    state = {"model.embed_tokens.weight": weights.embedding, "model.norm.weight": weights.norm}
    if not shape.tie_embeddings:
        state["lm_head.weight"] = weights.lm_head
    for number, layer in enumerate(weights.layers):
        q, k, v = layer.qkv.split((shape.q_rows, shape.kv_rows, shape.kv_rows))
        gate, up = layer.gate_up.split(shape.ffn)
        parts = {
            "input_layernorm": layer.attn_norm,
            "self_attn.q_proj": q,
            "self_attn.k_proj": k,
            "self_attn.v_proj": v,
            "self_attn.o_proj": layer.o,
            "post_attention_layernorm": layer.ffn_norm,
            "mlp.gate_proj": gate,
            "mlp.up_proj": up,
            "mlp.down_proj": layer.down,
        }
        state |= {f"model.layers.{number}.{name}.weight": tensor for name, tensor in parts.items()}
    return {name: tensor.clone() for name, tensor in state.items()}


class Direct:
    """A loop over the model."""

    def __init__(self, setup: Setup) -> None:
        torch.set_num_threads(setup.threads)
        torch.set_grad_enabled(False)
        self._setup = setup
        found = model_of(setup)
        self._vocab = found.shape.vocab
        self._model = load_model(found)
        self._caches: dict[tuple[int, int], tuple[DynamicCache, torch.Tensor]] = {}

    def about(self) -> dict[str, Any]:
        """Returns the formats."""
        return {"weights": "float32", "kv_dtype": "float32", "attention": self._model.config._attn_implementation}

    def _prompt(self, length: int) -> tuple[DynamicCache, torch.Tensor]:
        """Returns cache and first token, [1, 1], of a prompt."""
        ids = torch.tensor([prompt_of(length, self._vocab, self._setup.seed)])
        cache = DynamicCache()
        logits = self._model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        return cache, logits[:, -1:].argmax(-1)

    @torch.inference_mode()
    def prefill(self, prompt: int) -> float:
        """See `engine_worker.Program`."""
        began = time.perf_counter()
        self._prompt(prompt)[1].tolist()
        return time.perf_counter() - began

    @torch.inference_mode()
    def decode(self, batch: int, context: int, steps: int) -> float:
        """See `engine_worker.Program`."""
        key = (batch, context)
        if key not in self._caches:
            torch.set_num_threads(self._setup.cores)
            cache, token = self._prompt(context)
            torch.set_num_threads(self._setup.threads)
            cache.batch_repeat_interleave(batch)
            self._caches[key] = cache, token.expand(batch, 1)
        cache, tokens = self._caches[key]
        for _ in range(_WARM_STEPS):
            tokens = self._step(cache, tokens)
        began = time.perf_counter()
        for _ in range(steps):
            tokens = self._step(cache, tokens)
        taken = time.perf_counter() - began
        cache.crop(-(steps + _WARM_STEPS))
        return taken / steps

    def _step(self, cache: DynamicCache, tokens: torch.Tensor) -> torch.Tensor:
        return self._model(tokens, past_key_values=cache, use_cache=True).logits[:, -1:].argmax(-1)


class Continuous:
    """The manager behind `generate_batch`, kept between measurements; prefix sharing is off, as prompts repeat."""

    def __init__(self, setup: Setup) -> None:
        torch.set_num_threads(setup.threads)
        torch.set_grad_enabled(False)
        logging.getLogger("ContinuousBatchingLogger").setLevel(logging.ERROR)
        self._setup = setup
        found = model_of(setup)
        self._vocab = found.shape.vocab
        self._model = load_model(found)
        self._open = ExitStack()
        wanted = GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0, max_new_tokens=8)
        # KV memory for the largest batch or the longest prompt, in blocks of the default size.
        how = ContinuousBatchingConfig(
            allow_block_sharing=False, num_blocks=64, max_batch_tokens=max(512, setup.longest)
        )
        self._manager = self._open.enter_context(
            self._model.continuous_batching_context_manager(
                generation_config=copy.deepcopy(wanted), continuous_batching_config=how, warmup=False
            )
        )

    def about(self) -> dict[str, Any]:
        """Returns the formats."""
        return {"weights": "float32", "kv_dtype": "float32", "attention": self._model.config._attn_implementation}

    def _times(self, batch: int, prompt: int, tokens: int) -> tuple[float, list[list[float]]]:
        """Returns when the requests were handed over, and when each token of each came; seconds on one clock."""
        ids = prompt_of(prompt, self._vocab, self._setup.seed)
        began = time.perf_counter()
        wanted = set(self._manager.add_requests([ids] * batch, max_new_tokens=tokens, record_timestamps=True))
        times: list[list[float]] = []
        while wanted:
            result = self._manager.get_result(timeout=_RESULT_S)
            if result is None or result.error:
                raise RuntimeError(f"continuous batching gave up: {result.error if result else 'no result'}")
            if result.is_finished():
                wanted.discard(result.request_id)
                assert result.timestamps is not None
                times.append(result.timestamps)
        return began, times

    def prefill(self, prompt: int) -> float:
        """See `engine_worker.Program`."""
        began, ((first, *_),) = self._times(1, prompt, 1)
        return first - began

    def decode(self, batch: int, context: int, steps: int) -> float:
        """See `engine_worker.Program`; the steps are those in which every row gets a token."""
        _, times = self._times(batch, context, steps + _WARM_STEPS + 2)
        began, ended = max(row[_WARM_STEPS] for row in times), min(row[-1] for row in times)
        inside = [at for at in times[0] if began <= at <= ended]
        return (inside[-1] - inside[0]) / (len(inside) - 1)
