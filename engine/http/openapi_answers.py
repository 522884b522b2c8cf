"""The answers of the API as JSON schemas, for its OpenAPI document.

SGLang's and OpenAI's forms; what is written here is what `generate`, `choices`, `info` and `answer` make, and a test
checks their answers against it.
"""

from __future__ import annotations

from typing import Any

__all__ = ["ANSWERS", "answer", "problems"]

_Schema = dict[str, Any]
_TEXT: _Schema = {"type": "string"}
_COUNT: _Schema = {"type": "integer", "minimum": 0}
_NUMBER: _Schema = {"type": "number"}
_FLAG: _Schema = {"type": "boolean"}
_PROBLEMS = {
    400: "The body or a field of it cannot be served as asked.",
    401: "No valid key.",
    403: "Sent by a page of another site.",
    404: "No such model or route.",
    405: "Another method.",
    408: "The body did not arrive in time.",
    409: "It conflicts with what is going on, such as a room that is active.",
    413: "The body is too large.",
    415: "The body is not application/json.",
    421: "The Host header is not a name of this server.",
    499: "The request was aborted.",
    502: "The other half of the pair failed.",
    503: "Not ready or full; Retry-After says when to try again.",
    504: "The request's time is over.",
}


def _object(needed: dict[str, _Schema], **more: _Schema) -> _Schema:
    """An object with all of `needed` and perhaps some of `more`."""
    return {"type": "object", "properties": {**needed, **more}, "required": list(needed)}


def _list(items: _Schema) -> _Schema:
    return {"type": "array", "items": items}


def _or_null(schema: _Schema) -> _Schema:
    return {"anyOf": [schema, {"type": "null"}]}


# [log probability, token id, text]; prefixItems would say it better, but few tools know it.
_ENTRY: _Schema = {"type": "array", "items": {"type": ["number", "string", "null"]}, "minItems": 3, "maxItems": 3}
_ENTRIES = _list(_ENTRY)
_RANKED = _list(_or_null(_ENTRIES))
_META = _object(
    {
        "id": _TEXT,
        "finish_reason": _or_null(_object({"type": {"enum": ["stop", "length", "abort"]}})),
        "prompt_tokens": _COUNT,
        "completion_tokens": _COUNT,
        "cached_tokens": _COUNT,
    },
    e2e_latency=_NUMBER,
    weight_version=_TEXT,
    input_token_logprobs=_ENTRIES,
    output_token_logprobs=_ENTRIES,
    input_top_logprobs=_RANKED,
    output_top_logprobs=_RANKED,
    input_token_ids_logprobs=_RANKED,
    output_token_ids_logprobs=_RANKED,
)
_ONE_GENERATED = _object({"text": _TEXT, "output_ids": _list(_COUNT), "meta_info": _META})
_SCORED = {"token": _TEXT, "logprob": _NUMBER, "bytes": _or_null(_list(_COUNT))}
_USAGE = _object(
    {"prompt_tokens": _COUNT, "completion_tokens": _COUNT, "total_tokens": _COUNT},
    prompt_tokens_details=_object({"cached_tokens": _COUNT}),
)
_REASON: _Schema = {"enum": ["stop", "length"]}
_LISTS = {
    "tokens": _list(_TEXT),
    "token_logprobs": _list(_NUMBER),
    "top_logprobs": _list({"type": "object", "additionalProperties": _NUMBER}),
    "text_offset": _list(_COUNT),
}


def _openai(kind: str, choice: dict[str, _Schema]) -> _Schema:
    one = _object({"index": _COUNT, "finish_reason": _REASON, **choice})
    outer = {"id": _TEXT, "object": {"const": kind}, "created": _COUNT, "model": _TEXT}
    return _object({**outer, "choices": _list(one), "usage": _USAGE})


_MODEL = _object(
    {"id": _TEXT, "object": {"const": "model"}, "created": _COUNT, "owned_by": _TEXT}, max_model_len=_COUNT
)
_MESSAGE = _object({"role": {"const": "assistant"}, "content": _TEXT})
_CONTENT = _list(_object({**_SCORED, "top_logprobs": _list(_object(_SCORED))}))

ANSWERS: dict[str, _Schema] = {
    "Error": _object(
        {
            "error": _object(
                {"message": _TEXT, "type": _TEXT, "code": {"type": "integer"}},
                param=_or_null(_TEXT),
                retryable=_FLAG,
            )
        }
    ),
    "Generated": {"anyOf": [_ONE_GENERATED, _list(_ONE_GENERATED)]},
    "Completion": _openai("text_completion", {"text": _TEXT, "logprobs": _or_null(_object(_LISTS))}),
    "ChatCompletion": _openai(
        "chat.completion", {"message": _MESSAGE, "logprobs": _or_null(_object({"content": _CONTENT}))}
    ),
    "Flushed": _object({"success": _FLAG, "message": _TEXT}),
    "Aborted": _object({"aborted": _FLAG}),
    "Status": _object({"status": _TEXT}),
    "Model": _MODEL,
    "Models": _object({"object": {"const": "list"}, "data": _list(_MODEL)}),
    "Info": {"type": "object"},
    "Profile": _object(
        {
            "state": {"enum": ["idle", "profiling", "writing", "done", "failed"]},
            "folder": _TEXT,
            "steps": _COUNT,
            "ranks": _COUNT,
            "error": _TEXT,
            "files": _list(_object({"rank": _COUNT, "path": _TEXT, "bytes": _or_null(_COUNT)})),
        },
        success=_FLAG,
        message=_TEXT,
    ),
    "Loads": _list(_object({"dp_rank": _COUNT, "num_reqs": _COUNT, "num_waiting_reqs": _COUNT, "num_tokens": _COUNT})),
}


def answer(kind: str) -> dict[str, Any]:
    """Returns the content of an answer in JSON."""
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{kind}"}}}


def problems(*statuses: int) -> dict[str, Any]:
    """Returns the responses of errors."""
    return {str(status): {"description": _PROBLEMS[status], "content": answer("Error")} for status in statuses}
