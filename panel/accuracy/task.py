"""The evaluation as lm-eval takes it: a task file of our own over a local file, and the command. Pure.

The task is lm-eval's own GSM8K (its prompt, its filters strict-match and flexible-extract, its metric exact_match), but
its questions are the person's file and its worked examples are written here, so nothing is fetched. Scores therefore
compare with each other, not exactly with published ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ...engine.errors import ConfigError
from ..load.spec import clean_url

__all__ = ["MOST_SHOTS", "OFFLINE", "TASK", "AccuracySpec", "checked_accuracy", "command", "scores", "task_text"]

TASK = "pdpanel_gsm8k"
# Nothing of an evaluation may ask the Hub: everything that it reads is on this host.
OFFLINE: Mapping[str, str] = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_EVALUATE_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYTHONUNBUFFERED": "1",
}
_EXAMPLES = (
    (
        "A shelf holds 4 rows of 9 books. Nina takes 7 books home. How many books are left on the shelf?",
        "The shelf holds 4 * 9 = 36 books. After Nina takes 7 there are 36 - 7 = 29 books.\n#### 29",
    ),
    (
        "A train ticket costs 12 dollars and a bus ticket costs a third of that. What do two of each cost together?",
        "A bus ticket costs 12 / 3 = 4 dollars. One of each costs 12 + 4 = 16, so two of each cost 2 * 16 = 32 "
        "dollars.\n#### 32",
    ),
    (
        "Omar reads 15 pages a day. His book has 240 pages and he has read 90. How many more days does he need?",
        "There are 240 - 90 = 150 pages left. At 15 pages a day he needs 150 / 15 = 10 days.\n#### 10",
    ),
    (
        "A farmer has 60 eggs. He sells 40 percent of them and gives away a quarter of the rest. How many are left?",
        "He sells 60 * 0.4 = 24 eggs, so he has 60 - 24 = 36. "
        "He gives 36 / 4 = 9 away, so 36 - 9 = 27 are left.\n#### 27",
    ),
    (
        "Lea runs 3 km in 18 minutes. At the same pace, how many minutes does she need for 7 km?",
        "She needs 18 / 3 = 6 minutes for each km, so 7 km take 7 * 6 = 42 minutes.\n#### 42",
    ),
)
MOST_SHOTS = len(_EXAMPLES)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracySpec:
    """One evaluation.

    Attributes:
        questions: the person's file.
        limit: questions from its begin; None takes all.
        shots: worked examples in front of each question.
        chat: uses the model's chat template.
        max_tokens: of an answer.
        concurrency: requests under way at once.
    """

    url: str
    questions: str
    model: str = ""
    limit: int | None = None
    shots: int = MOST_SHOTS
    chat: bool = False
    max_tokens: int = 256
    concurrency: int = 8
    timeout_s: float = 600.0


def checked_accuracy(spec: AccuracySpec) -> AccuracySpec:
    """Returns the spec with a clean URL; raises ConfigError for the first field that cannot be."""
    from dataclasses import replace

    bounds = {
        "shots": (spec.shots, 0, MOST_SHOTS),
        "max-tokens": (spec.max_tokens, 1, 100_000),
        "concurrency": (spec.concurrency, 1, 1024),
        "limit": (1 if spec.limit is None else spec.limit, 1, 1_000_000),
    }
    for field, (value, least, most) in bounds.items():
        if not least <= value <= most:
            raise ConfigError(field, value, f"is not between {least} and {most}", "choose a number in that range")
    return replace(spec, url=clean_url("url", spec.url))


def task_text(questions: Path, shots: int, max_tokens: int) -> str:
    """Returns the task file for the questions in the JSONL file `questions`."""
    task: dict[str, Any] = {
        "task": TASK,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(questions)}},
        "output_type": "generate_until",
        "test_split": "test",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_target": "{{answer}}",
        "num_fewshot": shots,
        "fewshot_config": {
            "sampler": "first_n",
            "samples": [{"question": question, "answer": answer} for question, answer in _EXAMPLES],
        },
        "metric_list": [
            {
                "metric": "exact_match",
                "aggregation": "mean",
                "higher_is_better": True,
                "ignore_case": True,
                "ignore_punctuation": False,
                "regexes_to_ignore": [",", r"\$", "(?s).*#### ", r"\.$"],
            }
        ],
        "generation_kwargs": {
            "until": ["Question:", "</s>", "<|im_end|>"],
            "do_sample": False,
            "temperature": 0.0,
            "max_gen_toks": max_tokens,
        },
        "filter_list": [
            {
                "name": "strict-match",
                "filter": [
                    {"function": "regex", "regex_pattern": r"#### (\-?[0-9\.\,]+)"},
                    {"function": "take_first"},
                ],
            },
            {
                "name": "flexible-extract",
                "filter": [
                    {
                        "function": "regex",
                        "group_select": -1,
                        "regex_pattern": r"(-?[$0-9.,]{2,})|(-?[0-9]+)",
                    },
                    {"function": "take_first"},
                ],
            },
        ],
        "metadata": {"version": 3.0},
    }
    return yaml.safe_dump(task, sort_keys=False, allow_unicode=True)


def command(python: str, spec: AccuracySpec, model: str, folder: Path) -> Sequence[str]:
    """Returns the command that evaluates.

    Args:
        python: has lm-eval installed.
        spec: the evaluation.
        model: as the server names it.
        folder: holds the task file, and is where the results go.
    """
    arguments = {
        "model": model,
        "base_url": spec.url + ("/v1/chat/completions" if spec.chat else "/v1/completions"),
        "num_concurrent": spec.concurrency,
        "max_retries": 3,
        "timeout": int(spec.timeout_s),
        # The prompts are sent as text, so no tokenizer has to be found.
        "tokenizer_backend": None,
        "tokenized_requests": False,
    }
    for value in (model, spec.url):
        if "," in value or "=" in value:
            raise ConfigError(
                "model", value, "has a comma or an equals sign, which lm-eval reads as its own", "rename it"
            )
    kind = "local-chat-completions" if spec.chat else "local-completions"
    return [
        *(python, "-m", "lm_eval", "run", "--model", kind),
        *("--model_args", ",".join(f"{key}={value}" for key, value in arguments.items())),
        *("--include_path", str(folder), "--tasks", TASK, "--num_fewshot", str(spec.shots)),
        *(("--apply_chat_template",) if spec.chat else ()),
        *("--output_path", str(folder / "out"), "--seed", "0"),
    ]


def scores(document: Any) -> dict[str, Any] | None:
    """Returns the columns of an entry from lm-eval's result file; None when it is none of this task.

    `exact_match` is the last number of the answer (flexible-extract), `exact_match_strict` the number after `####`.
    """
    try:
        found = document["results"][TASK]
        columns: dict[str, Any] = {
            "exact_match": float(found["exact_match,flexible-extract"]),
            "exact_match_strict": float(found["exact_match,strict-match"]),
        }
        samples = int(document["n-samples"][TASK]["effective"])
    except (LookupError, TypeError, ValueError):
        return None
    for name, filtered in (("exact_match", "flexible-extract"), ("exact_match_strict", "strict-match")):
        # Of one question there is no deviation, and the file says N/A.
        error = found.get(f"exact_match_stderr,{filtered}")
        columns[f"{name}_stderr"] = float(error) if isinstance(error, int | float) else None
    return columns | {"questions": samples}
