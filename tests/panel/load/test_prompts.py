from __future__ import annotations

import json
from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.load.prompt_file import read_prompts
from pdpanel.panel.load.prompts import FilePrompts, TokenPrompts, WordPrompts


def test_random_tokens_are_exactly_as_many_and_the_same_again() -> None:
    prompts = TokenPrompts(range(100, 4000), 7, "a test")
    one = prompts.prompt(3, 50).token_ids
    assert len(one) == 50
    assert all(100 <= token < 4000 for token in one)
    assert one == TokenPrompts(range(100, 4000), 7, "a test").prompt(3, 50).token_ids
    # No beginning in common: a prefix cache must not answer.
    assert len({prompts.prompt(number, 50).token_ids[:4] for number in range(200)}) == 200


def test_words_are_as_many_as_the_servers_count_says() -> None:
    assert len(WordPrompts(0).prompt(0, 30).text.split()) == 30
    assert len(WordPrompts(0, tokens_per_word=1.5, extra=6).prompt(0, 36).text.split()) == 20
    assert len(WordPrompts(0, extra=50).prompt(0, 5).text.split()) == 1


def test_prompts_of_a_file_are_used_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("one\n\ntwo\n42\n")
    found = read_prompts(path)
    assert [prompt.text for prompt in found] == ["one", "two", "42"]
    prompts = FilePrompts(found, 1, "")
    assert {prompts.prompt(number, 5).text for number in range(3)} == {"one", "two", "42"}
    assert prompts.prompt(0, 5) == prompts.prompt(3, 9)


def test_sharegpt_asks_the_first_question(tmp_path: Path) -> None:
    turns = [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Yo"}]
    path = tmp_path / "share.json"
    path.write_text(
        json.dumps([{"id": "x", "conversations": turns}, {"conversations": []}, {"conversations": "no"}, 5])
    )
    (prompt,) = read_prompts(path)
    assert prompt.messages == (("system", "Be kind."), ("user", "Hi?"))
    assert prompt.text == "Be kind.\n\nHi?"


def test_lines_of_json_in_several_spellings(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    rows = [
        {"prompt": "a", "output_tokens": 9},
        {"text": "b"},
        {"question": "c", "max_tokens": -1},
        {"messages": [{"role": "user", "content": "d"}]},
        {"prompt": ["no"]},
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\nbroken {\n")
    found = read_prompts(path)
    assert [(prompt.text, prompt.output_length) for prompt in found] == [
        ("a", 9),
        ("b", None),
        ("c", None),
        ("d", None),
    ]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"[]", b"{}\n{}", b"null"])
def test_a_file_without_a_prompt_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="holds no prompt"):
        read_prompts(path)


@pytest.mark.parametrize("path", ["/does/not/exist", "/", "a\0b"])
def test_a_file_that_cannot_be_read_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match=r"^prompts = "):
        read_prompts(Path(path))
