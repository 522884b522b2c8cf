"""Reads a person's GSM8K file: lines of JSON with a question and an answer that ends in `#### NUMBER`.

Pure but for the one file that the person named. Called before an evaluation begins, so that a wrong file is one
sentence and not a failed evaluation.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from ...engine.errors import ConfigError

__all__ = ["Question", "questions_jsonl", "read_questions"]

Question = tuple[str, str]
"""The question, and the answer with its last line `#### NUMBER`."""

_MOST_BYTES = 256 << 20
_FINAL = re.compile(r"####\s*(-?[$0-9.,]*[0-9])\s*$")
_NUMBER = re.compile(r"-?\$?[0-9][0-9,]*(?:\.[0-9]+)?")
_REMEDY = 'write lines such as {"question": "...", "answer": "... #### 42"}'


def read_questions(path: Path) -> tuple[Question, ...]:
    """Returns the questions of a file in its order.

    Raises:
        ConfigError: it cannot be read, is larger than 256 MiB, or a line is no question with a number for an answer.
    """
    try:
        path = path.expanduser()
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError("questions", str(path), "is larger than 256 MiB", "name a part of it")
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigError("questions", str(path), "is no text in UTF-8", _REMEDY) from None
    except (OSError, ValueError, RuntimeError) as error:
        problem = (error.strerror if isinstance(error, OSError) else None) or "cannot be read"
        raise ConfigError("questions", str(path), problem, "name a file that this user can read") from None
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        question = _question(line)
        if question is None:
            raise ConfigError(
                "questions", str(path), f"has no question with a number as answer in line {number}", _REMEDY
            )
        found.append(question)
    if not found:
        raise ConfigError("questions", str(path), "holds no question", _REMEDY)
    return tuple(found)


def _question(line: str) -> Question | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    question, answer = value.get("question"), value.get("answer")
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        answer = f"{answer:g}" if isinstance(answer, float) else str(answer)
    if not isinstance(question, str) or not question.strip() or not isinstance(answer, str):
        return None
    if _FINAL.search(answer):
        return question, answer
    return (question, f"#### {answer.strip()}") if _NUMBER.fullmatch(answer.strip()) else None


def questions_jsonl(questions: tuple[Question, ...]) -> str:
    """Returns the questions as the evaluation reads them, one JSON object a line."""
    return "".join(json.dumps({"question": question, "answer": answer}) + "\n" for question, answer in questions)
