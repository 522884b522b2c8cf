"""`pdpanel export`, as a person types it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from pdpanel.panel.cli import main
from pdpanel.panel.deployment import load_deployment
from pdpanel.panel.export.formats import FORMATS

TEXT = """
name: pair
model: org/a-model
engine: sglang
prefill: {count: 1, hosts: [n1]}
decode: {count: 1, hosts: [n2]}
hosts: {n1: {address: 10.0.0.1}, n2: {address: 10.0.0.2}}
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "deployment.yaml"
    path.write_text(TEXT)
    return path


def call(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr("sys.argv", ["pdpanel", "export", *map(str, words)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize("form", ["sh", "env", "compose", "systemd"])
def test_an_export_says_what_to_do_and_is_made_of_itself_again(
    source: Path, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, packed = tmp_path / "out", tmp_path / "x.zip"
    assert call(monkeypatch, source, "--format", form, "-o", out, "--zip", packed) == 0
    told = capsys.readouterr().out
    assert "\n1. " in told and "README.md says the same." in told
    assert load_deployment(out / "deployment.yaml") == load_deployment(source)
    written = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with zipfile.ZipFile(packed) as opened:
        assert {name: opened.read(name) for name in opened.namelist()} == written
    again = tmp_path / "again"
    assert call(monkeypatch, out / "deployment.yaml", "--format", form, "-o", again) == 0
    assert {str(p.relative_to(again)): p.read_bytes() for p in again.rglob("*") if p.is_file()} == written


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--format", "sh"), "write -o DIR"),
        (("--format", "word", "-o", "{out}"), "is no format; write one of sh, env"),
        (("-o", "/proc/nowhere/x"), "name a folder of yours"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    source: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(monkeypatch, source, *(word.format(out=tmp_path / "out") for word in words)) == 2
    told = capsys.readouterr().err
    assert sentence in told and len(told.strip().splitlines()) == 1


def test_the_help_names_every_format(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "--help") == 0
    told = capsys.readouterr().out
    assert all(name in told for name in FORMATS)
