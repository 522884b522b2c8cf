"""Which request fields exist, per route.

A field is implemented (a reader of this package takes it), known (SGLang, vLLM or OpenAI clients and routers
send it, and the bundled engine does what its neutral value asks for), or unknown. A known field with another
value is refused by name, and so is an unknown one: nothing is ignored. Null is always neutral.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import RequestError

__all__ = [
    "ABORT",
    "CHAT",
    "COMPLETIONS",
    "FLUSH",
    "GENERATE",
    "PROFILE",
    "SAMPLING",
    "STOP_PROFILE",
    "STREAM_OPTIONS",
    "FieldTable",
    "allowed_values",
    "shown_name",
]

_LONGEST_NAME = 64
_ANY = ("any value",)  # compared by identity: labels that do not change the output
_OFF = (False,)
_ON = (True,)
_EITHER = (False, True)
_NULL = (None,)
_ZERO = (0,)
_ONE = (1,)
_EMPTY_LIST = ([],)
_EMPTY_OBJECT = ({},)


@dataclass(frozen=True, slots=True)
class FieldTable:
    """The fields of one JSON object.

    Attributes:
        implemented: names that are read.
        neutral: known names with the values that are accepted; the first is what errors advise.
    """

    implemented: frozenset[str]
    neutral: Mapping[str, tuple[object, ...]]

    def check(self, body: Mapping[str, Any], path: str = "") -> None:
        """Checks that every field of `body` is one that the engine serves as asked.

        Raises:
            RequestError: a field is unknown, or known with a value that asks for something else.
        """
        for field, value in body.items():
            if field in self.implemented:
                continue
            name = f"{path}.{shown_name(field)}" if path else shown_name(field)
            allowed = self.neutral.get(field)
            if allowed is None:
                raise RequestError(name, value, "no such field", self._advice(field))
            if value is None or allowed is _ANY or any(_same(value, neutral) for neutral in allowed):
                continue
            remedy = "leave it out" + ("" if allowed[0] is None else f" or set it to {allowed[0]}")
            raise RequestError(name, value, "the bundled engine does not implement it", remedy)

    def _advice(self, field: str) -> str:
        if len(field) > _LONGEST_NAME:
            return "leave it out"
        known = sorted((*self.implemented, *self.neutral))
        near = difflib.get_close_matches(field, known, n=1, cutoff=0.75)
        return f"leave it out or, if you mean {near[0]}, name it so" if near else "leave it out"


def allowed_values(table: FieldTable, field: str) -> tuple[object, ...] | None:
    """Returns the values that a known field may have; None for any."""
    values = table.neutral[field]
    return None if values is _ANY else values


def shown_name(field: str) -> str:
    """Returns a client's field name as an error shows it: one short line."""
    if len(field) <= _LONGEST_NAME and field.isprintable() and field:
        return field
    return repr(field[:_LONGEST_NAME])


def _same(value: object, neutral: object) -> bool:
    if isinstance(value, bool) or isinstance(neutral, bool):
        return value is neutral
    if isinstance(value, float) and isinstance(neutral, int):
        return value == neutral
    return type(value) is type(neutral) and value == neutral


_BOOTSTRAP = frozenset({"bootstrap_host", "bootstrap_port", "bootstrap_room"})
_BOOTSTRAP_NEUTRAL: dict[str, tuple[object, ...]] = {
    "bootstrap_pair_key": _NULL,
    "data_parallel_rank": _ZERO,
    "data_parallel_rank_decode": _ZERO,
    "decode_tp_size": _ONE,
    "disagg_prefill_dp_rank": _ZERO,
    "routed_dp_rank": _ZERO,
    "kv_transfer_params": _NULL,
}

# How tokens are chosen, under the names that both APIs share.
_SAMPLER = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "seed",
        "stop",
        "stop_token_ids",
        "ignore_eos",
        "skip_special_tokens",
        "no_stop_trim",
        "include_stop_str_in_output",
        "n",
    }
)
_SAMPLER_NEUTRAL: dict[str, tuple[object, ...]] = {
    "frequency_penalty": _ZERO,
    "presence_penalty": _ZERO,
    "repetition_penalty": _ONE,
    "length_penalty": _ONE,
    "logit_bias": _EMPTY_OBJECT,
    "json_schema": _NULL,
    "regex": _NULL,
    "ebnf": _NULL,
    "structural_tag": _NULL,
    "stop_regex": _EMPTY_LIST,
    "custom_params": _EMPTY_OBJECT,
    "spaces_between_special_tokens": _ON,
    "use_beam_search": _OFF,
    "early_stopping": _OFF,
    "bad_words": _EMPTY_LIST,
    "allowed_token_ids": _NULL,
    "stream_interval": _ONE,
}

SAMPLING = FieldTable(
    _SAMPLER | {"max_new_tokens", "min_new_tokens", "sampling_seed"},
    _SAMPLER_NEUTRAL,
)

STREAM_OPTIONS = FieldTable(frozenset({"include_usage", "continuous_usage_stats"}), {"include_obfuscation": _OFF})

_LABELS: dict[str, tuple[object, ...]] = {
    "user": _ANY,
    "metadata": _ANY,
    "safety_identifier": _ANY,
    "prompt_cache_key": _ANY,
    "extra_key": _NULL,
    "cache_salt": _NULL,
    "priority": _ZERO,
    "lora_path": _NULL,
    "lora_id": _NULL,
    "session_params": _EMPTY_OBJECT,
    "custom_logit_processor": _NULL,
    "return_hidden_states": _OFF,
    "return_routed_experts": _OFF,
    "return_cached_tokens_details": _OFF,
    "return_prompt_token_ids": _OFF,
    "return_meta_info": _OFF,
    "background": _OFF,
}

GENERATE = FieldTable(
    frozenset(
        {
            "text",
            "input_ids",
            "sampling_params",
            "stream",
            "rid",
            "model",
            "replayed_ids",
            "return_logprob",
            "logprob_start_len",
            "top_logprobs_num",
            "token_ids_logprob",
            "return_text_in_logprobs",
            "image_data",
        }
    )
    | _BOOTSTRAP,
    {
        **_BOOTSTRAP_NEUTRAL,
        **_LABELS,
        "input_embeds": _NULL,
        "video_data": _EMPTY_LIST,
        "audio_data": _EMPTY_LIST,
        "modalities": _EMPTY_LIST,
        "return_bytes": _OFF,
        "return_entropy": _OFF,
        "log_metrics": _EITHER,
        "no_logs": _EITHER,
        "conversation_id": _NULL,
        "require_reasoning": _OFF,
        "stream_options": _EMPTY_OBJECT,
    },
)

_OPENAI = (
    _BOOTSTRAP
    | _SAMPLER
    | {"model", "max_tokens", "min_tokens", "sampling_seed", "stream", "stream_options", "rid", "replayed_ids"}
)
_OPENAI_NEUTRAL: dict[str, tuple[object, ...]] = {
    **_BOOTSTRAP_NEUTRAL,
    **_SAMPLER_NEUTRAL,
    **_LABELS,
    "response_format": ({"type": "text"},),
    "best_of": _ONE,
    "store": _OFF,
    "service_tier": ("auto", "default"),
    "return_token_ids": _OFF,
    "return_tokens_as_token_ids": _OFF,
    "prompt_logprobs": _ZERO,
    "truncate_prompt_tokens": _NULL,
    "detokenize": _ON,
    "guided_json": _NULL,
    "guided_regex": _NULL,
    "guided_choice": _NULL,
    "guided_grammar": _NULL,
    "structured_outputs": _NULL,
}

COMPLETIONS = FieldTable(
    _OPENAI | {"prompt", "echo", "logprobs"},
    {
        **_OPENAI_NEUTRAL,
        "suffix": ("",),
        "add_special_tokens": _ON,
    },
)

CHAT = FieldTable(
    _OPENAI
    | {
        "messages",
        "max_completion_tokens",
        "add_generation_prompt",
        "continue_final_message",
        "chat_template_kwargs",
        "logprobs",
        "top_logprobs",
    },
    {
        **_OPENAI_NEUTRAL,
        "echo": _OFF,
        "tools": _EMPTY_LIST,
        "tool_choice": ("none", "auto"),  # without tools both choose none
        "parallel_tool_calls": _EITHER,
        "functions": _EMPTY_LIST,
        "function_call": ("none", "auto"),
        "reasoning_effort": ("none",),
        "separate_reasoning": _EITHER,  # there is no reasoning parser, so nothing to separate
        "stream_reasoning": _EITHER,
        "include_reasoning": _EITHER,
        "modalities": (["text"],),
        "audio": _NULL,
        "prediction": _NULL,
        "web_search_options": _NULL,
        "verbosity": ("medium",),
        "chat_template": _NULL,
        "documents": _EMPTY_LIST,
        "add_special_tokens": _OFF,
    },
)

ABORT = FieldTable(
    frozenset({"rid", "abort_all"}),
    {"finished_reason": _NULL, "abort_message": _NULL},
)

FLUSH = FieldTable(frozenset({"timeout"}), {})

PROFILE = FieldTable(
    frozenset({"output_dir", "num_steps", "activities", "record_shapes", "with_stack"}),
    {
        "start_step": _NULL,
        "profile_by_stage": _OFF,
        "profile_stages": _NULL,
        "merge_profiles": _OFF,
        "profile_prefix": _NULL,
    },
)

STOP_PROFILE = FieldTable(frozenset(), {})
