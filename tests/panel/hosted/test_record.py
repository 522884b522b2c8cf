from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.hosted.record import PanelFiles, PanelRecord, Wish, files_in, read_panel

FRAMES = ("http://localhost:8888", "http://127.0.0.1:8888")
RECORD = PanelRecord(
    pid=7,
    start_ticks=9,
    port=7860,
    token="t",
    address="http://127.0.0.1:7860/",
    root_path="",
    origins=(),
    frames=FRAMES,
)
PROXIED = replace(RECORD, root_path="/user/ann/proxy/7860", origins=("https://hub.example",))


def test_a_record_is_what_was_written_and_private(tmp_path: Path) -> None:
    files_in(tmp_path)
    files = PanelFiles.of(tmp_path, "ab12")
    files.write(RECORD)
    assert read_panel(files.record) == RECORD
    assert stat.S_IMODE(files.record.stat().st_mode) == 0o600
    assert stat.S_IMODE(files.record.parent.stat().st_mode) == 0o700
    files.lease.touch()
    assert list(files_in(tmp_path)[1]) == [files]
    files.remove()
    files.remove()
    assert list(files_in(tmp_path)[1]) == [] and read_panel(files.record) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"pid": "x"}', "\u00e9"])
def test_junk_is_no_record(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    assert read_panel(path) is None


@pytest.mark.parametrize(
    ("record", "wish", "fits"),
    [
        (RECORD, Wish(), True),
        (RECORD, Wish(frames=FRAMES[:1]), True),
        (RECORD, Wish(frames=("http://localhost:9999",)), False),
        (RECORD, Wish(port=7860), True),
        (RECORD, Wish(port=7861), False),
        (RECORD, Wish(root_path="/user/ann/proxy/{port}"), False),
        (PROXIED, Wish(root_path="/user/ann/proxy/{port}", origins=("https://hub.example",)), True),
        (PROXIED, Wish(root_path="/user/bob/proxy/{port}"), False),
        (PROXIED, Wish(), False),
    ],
)
def test_a_panel_is_used_again_only_where_it_fits(record: PanelRecord, wish: Wish, fits: bool) -> None:
    assert record.fits(wish) is fits


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "panels").touch()
    with pytest.raises(ConfigError, match="--state-dir"):
        files_in(tmp_path)
