from __future__ import annotations

import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.accuracy.questions import questions_jsonl, read_questions
from pdpanel.panel.accuracy.task import MOST_SHOTS, AccuracySpec, checked_accuracy, command, scores, task_text
from pdpanel.panel.load.jobs import ACTIVE, Loads
from pretended_server import PretendedServer

QUESTION = {"question": "Two and two?", "answer": "2+2=4\n#### 4"}
RESULT = {
    "results": {
        "pdpanel_gsm8k": {
            "exact_match,strict-match": 0.25,
            "exact_match_stderr,strict-match": 0.25,
            "exact_match,flexible-extract": 0.5,
            "exact_match_stderr,flexible-extract": "N/A",
        }
    },
    "n-samples": {"pdpanel_gsm8k": {"original": 4, "effective": 4}},
}


def write(folder: Path, *rows: object) -> Path:
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_questions_are_read_and_plain_numbers_become_answers(tmp_path: Path) -> None:
    path = write(tmp_path, QUESTION, {"question": "q", "answer": 7}, {"question": "q", "answer": " 1,200 "})
    found = read_questions(path)
    assert [answer for _, answer in found] == ["2+2=4\n#### 4", "#### 7", "#### 1,200"]
    assert [json.loads(line)["answer"] for line in questions_jsonl(found).splitlines()] == [one for _, one in found]


@pytest.mark.parametrize(
    "row", [{"question": "q"}, {"question": "", "answer": "#### 1"}, {"question": "q", "answer": "four"}, 5, [QUESTION]]
)
def test_a_line_that_is_no_question_is_named(tmp_path: Path, row: object) -> None:
    with pytest.raises(ConfigError, match="in line 2"):
        read_questions(write(tmp_path, QUESTION, row))


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"{"])
def test_a_file_without_questions_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "q"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"^questions = "):
        read_questions(path)


def test_the_task_reads_the_named_file_alone(tmp_path: Path) -> None:
    task = yaml.safe_load(task_text(tmp_path / "a b.jsonl", 3, 99))
    assert task["dataset_path"] == "json"
    assert task["dataset_kwargs"]["data_files"] == {"test": str(tmp_path / "a b.jsonl")}
    assert task["num_fewshot"] == 3
    assert len(task["fewshot_config"]["samples"]) == MOST_SHOTS
    assert all("#### " in one["answer"] for one in task["fewshot_config"]["samples"])
    assert task["generation_kwargs"]["max_gen_toks"] == 99


def test_the_command_names_the_route_and_no_tokenizer(tmp_path: Path) -> None:
    spec = AccuracySpec(url="http://h:1", questions="q")
    words = command("py", spec, "m", tmp_path)
    (arguments,) = [words[place + 1] for place, word in enumerate(words) if word == "--model_args"]
    assert "base_url=http://h:1/v1/completions" in arguments
    assert "tokenizer_backend=None" in arguments
    with pytest.raises(ConfigError, match="comma"):
        command("py", spec, "m,base_url=http://evil", tmp_path)


def test_scores_are_read_and_other_files_are_none() -> None:
    columns = scores(RESULT)
    assert columns is not None
    assert (columns["exact_match"], columns["exact_match_stderr"]) == (0.5, None)
    assert (columns["exact_match_strict"], columns["exact_match_strict_stderr"], columns["questions"]) == (
        0.25,
        0.25,
        4,
    )
    assert [scores(other) for other in ({}, [], None, {"results": {"pdpanel_gsm8k": {}}})] == [None] * 4


@pytest.mark.parametrize("field", ["shots", "max_tokens", "concurrency", "limit"])
def test_numbers_are_bounded(field: str) -> None:
    with pytest.raises(ConfigError):
        checked_accuracy(AccuracySpec(url="http://h", questions="q", **{field: -1}))  # pyright: ignore[reportArgumentType]


def pretended_python(folder: Path, body: str) -> str:
    """A Python that has lm-eval, or one that says what `body` says when it is run as it."""
    path = folder / "python"
    path.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exit 0\n{body}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def ended(loads: Loads, load: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while (entry := loads.get(load))["state"] in ACTIVE:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return entry


def test_a_score_is_saved_beside_the_loads_and_nothing_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(RESULT))
    said = 'test "$HF_HUB_OFFLINE$HF_DATASETS_OFFLINE$TRANSFORMERS_OFFLINE" = 111 || exit 7\n'
    said += f"mkdir -p out/m && cp {tmp_path}/result.json out/m/results_x.json"
    loads = Loads(tmp_path / "loads", evaluator=pretended_python(tmp_path, said))
    path = write(tmp_path, QUESTION)
    with PretendedServer() as server:
        load = loads.start_accuracy(AccuracySpec(url=server.url, questions=str(path)), labels={"mode": "1P1D"})
        entry = ended(loads, load)
    assert (entry["state"], entry["kind"], entry["columns"]["exact_match"]) == ("finished", "accuracy", 0.5)
    assert entry["name"] == "1P1D: 1 questions"


def test_an_evaluation_without_a_score_says_the_last_of_its_log(tmp_path: Path) -> None:
    loads = Loads(
        tmp_path / "loads", evaluator=pretended_python(tmp_path, "echo 'ValueError: no such model' >&2; exit 3")
    )
    with PretendedServer() as server:
        load = loads.start_accuracy(AccuracySpec(url=server.url, questions=str(write(tmp_path, QUESTION))))
        entry = ended(loads, load)
    assert entry["state"] == "failed"
    assert "code 3" in entry["notes"][0]
    assert "no such model" in entry["notes"][0]


def test_an_evaluation_is_stopped_with_its_child(tmp_path: Path) -> None:
    loads = Loads(tmp_path / "loads", evaluator=pretended_python(tmp_path, "touch ../began; exec sleep 600"))
    with PretendedServer() as server:
        load = loads.start_accuracy(AccuracySpec(url=server.url, questions=str(write(tmp_path, QUESTION))))
        deadline = time.monotonic() + 60
        while not (tmp_path / "loads" / "jobs" / load / "began").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        loads.stop(load)
        assert ended(loads, load)["state"] == "stopped"


def test_without_lm_eval_one_command_is_named(tmp_path: Path) -> None:
    loads = Loads(tmp_path, evaluator="/does/not/exist")
    assert not loads.evaluates()
    with pytest.raises(ConfigError, match=r"pip install 'pdpanel\[accuracy\]'"):
        loads.start_accuracy(AccuracySpec(url="http://h", questions=str(write(tmp_path, QUESTION))))
