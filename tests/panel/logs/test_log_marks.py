from __future__ import annotations

from pathlib import Path

from pdpanel.panel.logs.log_file import open_log
from pdpanel.panel.logs.marks import Marks

KNOWN = "E1121 05:05:38.069805 1 rdma_context.cpp:1] Failed to register memory 0x7f: Bad address [14]\n"
PLAIN = "I1121 05:05:38.069805 1 a.cpp:1] nothing to explain here, just text of a usual length\n"


def test_known_failures_are_marked_once_for_all_readers(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text(PLAIN * 100 + KNOWN + PLAIN * 100)
    marks = Marks()
    with open_log(path) as file:
        first = marks.between(file, 0, file.size)
        looked = marks.lines_explained
        again = marks.between(file, 0, file.size)
    assert [mark.at for mark in first] == [len(PLAIN) * 100]
    assert first[0].finding.reason
    assert first[0].finding.remedy
    assert again == first
    assert looked == marks.lines_explained == 201


def test_a_growing_region_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text(PLAIN + KNOWN[:40])
    marks = Marks()
    with open_log(path) as file:
        assert marks.between(file, 0, file.size) == []
        with path.open("a") as more:
            more.write(KNOWN[40:] + PLAIN)
        assert [mark.at for mark in marks.between(file, 0, file.size)] == [len(PLAIN)]
    assert marks.lines_explained == 3


def test_marks_do_not_depend_on_where_one_looks_first(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text((PLAIN * 9 + KNOWN) * 900)
    with open_log(path) as file:
        whole = [mark.at for mark in Marks().between(file, 0, file.size)]
        assert len(whole) == 900
        other = Marks()
        middle = file.size // 2
        found = {mark.at for start in (middle, 0, middle // 2) for mark in other.between(file, start, start + middle)}
        assert found | {mark.at for mark in other.between(file, 0, file.size)} == set(whole)
        assert other.lines_explained == 9000


def test_a_cut_file_is_explained_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text(KNOWN + PLAIN)
    marks = Marks()
    with open_log(path) as file:
        assert len(marks.between(file, 0, file.size)) == 1
        with path.open("r+") as cut:
            cut.truncate(0)
            cut.write(PLAIN)
        assert marks.between(file, 0, file.size) == []
