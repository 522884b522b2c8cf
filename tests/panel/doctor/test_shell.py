from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.doctor.shell import shell_commands


def words(text: str) -> list[tuple[str, ...]]:
    return [command.words for command in shell_commands(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a --x 1 --y 2", [("a", "--x", "1", "--y", "2")]),
        ("a \\\n  --x 1 \\\n  --y 2\nb", [("a", "--x", "1", "--y", "2"), ("b",)]),
        ("a \\\n  # a comment in between\n  --x 1", [("a", "--x", "1")]),
        ("a --x 1\n  --y 2", [("a", "--x", "1", "--y", "2")]),
        ("a && b; c | d & e", [("a",), ("b",), ("c",), ("d",), ("e",)]),
        ("a --x 2 > log.txt 2>&1 &", [("a", "--x", "2")]),
        ("a 2> err &> all < in", [("a",)]),
        ("a 'x y' \"z w\" q\\ r", [("a", "x y", "z w", "q r")]),
        ("""a --j '{"k": "v, w"}'""", [("a", "--j", '{"k": "v, w"}')]),
        ('a "{\\"k\\":1}"', [("a", '{"k":1}')]),
        ("$ a --x\nroot@node:~# b", [("a", "--x"), ("b",)]),
        ("```bash\na\n```\ntext", [("a",), ("text",)]),
        ("cat > f <<'EOF'\na --not-me\nEOF\nb", [("cat",), ("b",)]),
        ("a # rest", [("a",)]),
        ("a#b", [("a#b",)]),
        ("A='--x 1 --y 2'\na $A", [("a", "--x", "1", "--y", "2")]),
        ("A='x y'\na \"$A\"", [("a", "x y")]),
        ("A=(--x 1 'y z')\na \"${A[@]}\"", [("a", "--x", "1", "y z")]),
        ("A=(\n  --x 1\n  --y 2\n)\nA+=(--z)\na ${A[*]}", [("a", "--x", "1", "--y", "2", "--z")]),
        ("A=(--x", []),
        ("a $(b c) `d e`", [("a", "$(b c)", "`d e`")]),
        ("a 'never closed", [("a", "never closed")]),
        ("", []),
    ],
)
def test_commands_are_split_as_a_shell_would(text: str, expected: list[tuple[str, ...]]) -> None:
    assert words(text) == expected


def test_variables_of_the_script_are_put_in() -> None:
    text = "M=/models/x\nexport TP=2\nA=1 run $M ${TP} ${PORT:-30000} '$M' \"$M\" $OTHER"
    (command,) = shell_commands(text)
    assert command.words == ("run", "/models/x", "2", "30000", "$M", "/models/x", "$OTHER")
    assert command.env == {"TP": "2", "A": "1"}
    assert command.line == 3


def test_a_plain_assignment_reaches_no_later_command() -> None:
    (command,) = shell_commands("A=1\nrun")
    assert command.env == {}


def test_growing_variables_stay_bounded() -> None:
    text = "A=xxxxxxxxxx\n" + "A=$A$A$A$A\n" * 40 + "run $A"
    (command,) = shell_commands(text)
    assert len(command.words[1]) <= 16 * 1024


@given(st.text(alphabet="ab \n\\'\"$(){}`;&|<>#=-1", max_size=200))
def test_no_text_raises(text: str) -> None:
    for command in shell_commands(text):
        assert command.words
        assert 1 <= command.line <= text.count("\n") + 1
