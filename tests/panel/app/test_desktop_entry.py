from __future__ import annotations

import configparser
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.app.desktop_entry import desktop_entry, exec_line

PRINTABLE = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)


def read_back(line: str) -> list[str]:
    """Reads Exec as the specification says: the string's escapes, then the quoting, then the field codes."""
    text = line.replace("\\\\", "\0").replace("\\n", "\n").replace("\\t", "\t").replace("\0", "\\")
    words: list[str] = []
    at = 0
    while at < len(text):
        word = ""
        if text[at] == '"':
            at += 1
            while text[at] != '"':
                at += text[at] == "\\"
                word += text[at]
                at += 1
            at += 1
        else:
            while at < len(text) and text[at] != " ":
                word += text[at]
                at += 1
        words.append(word.replace("%%", "%"))
        at += 1
    return words


@given(st.lists(PRINTABLE, max_size=4))
def test_every_argument_arrives_as_it_is(arguments: list[str]) -> None:
    command = ["/opt/pdpanel", *arguments]
    assert read_back(exec_line(command)) == command


@pytest.mark.parametrize(
    ("argument", "written"),
    [
        ("/home/ann/.venv/bin/pdpanel", "/home/ann/.venv/bin/pdpanel"),
        ("/a b", '"/a b"'),
        ("$HOME", '"\\\\$HOME"'),
        ("100%", '"100%%"'),
        ("a\\b", '"a\\\\\\\\b"'),
        ("", '""'),
        ("`id`;x", '"\\\\`id\\\\`;x"'),
    ],
)
def test_quoting_is_that_of_the_specification(argument: str, written: str) -> None:
    assert exec_line(["/p", argument]) == f"/p {written}"


@pytest.mark.parametrize("command", [["/a=b/pdpanel"], ["/p", "a\nTerminal=true"], ["/p", "\x07"]])
def test_what_exec_cannot_say_is_refused(command: list[str]) -> None:
    with pytest.raises(ConfigError, match="Exec"):
        desktop_entry(command)


def test_the_entry_has_what_a_menu_needs() -> None:
    reader = configparser.RawConfigParser(delimiters=["="], comment_prefixes=["#"], strict=True)
    reader.optionxform = str  # pyright: ignore[reportAttributeAccessIssue]
    reader.read_string(desktop_entry(["/p", "--state-dir", "/a b", "--app"]))
    entry = dict(reader["Desktop Entry"])
    assert (entry["Type"], entry["Name"], entry["Icon"], entry["Terminal"]) == (
        "Application",
        "pdpanel",
        "pdpanel",
        "false",
    )
    assert shlex.split(entry["Exec"]) == ["/p", "--state-dir", "/a b", "--app"]
    assert all(entry[key].endswith(";") for key in ("Categories", "Keywords"))
