from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.launch import Role
from pdpanel.panel.notebook.table import RunTable
from pdpanel.panel.runner.lifecycle import ProcessState, RunState
from pdpanel.panel.views import ProcessView, RunView

HOSTILE = '<img src=x onerror="hacked=1">\x1b[31m'


def view(text: str = "", stage: str = "", progress: float | None = None) -> RunView:
    process = ProcessView(
        name="decode-0" + text,
        role=Role.DECODE,
        pid=7,
        port=30001,
        state=ProcessState.STARTING,
        stage=stage,
        started_at=None,
        cpu_percent=None,
        rss_bytes=None,
        restarts=0,
        reason=text,
        log="/x",
        progress=progress,
    )
    return RunView(
        id="pd-1" + text,
        name="pd",
        state=RunState.STARTING,
        created_at=0.0,
        router_url="http://127.0.0.1:8000",
        model="m",
        transport="tcp",
        notice=text,
        processes=(process,),
        supervised=True,
    )


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)


@given(st.text(max_size=40) | st.just(HOSTILE))
def test_text_from_outside_is_text(text: str) -> None:
    tags = Tags()
    tags.feed(RunTable([view(text, stage=text)])._repr_html_())
    assert tags.tags <= {"table", "thead", "tbody", "tr", "th", "td", "p"}
    assert "\x1b" not in repr(RunTable([view(text)]))


def test_a_stage_has_its_share() -> None:
    table = RunTable([view(stage="loading weights", progress=0.42)])
    assert table.rows() == [("pd-1", "starting", "decode-0", "starting", "30001", "loading weights 42%")]
    assert "loading weights 42%" in repr(table)


def test_a_notice_has_a_row_of_its_own() -> None:
    rows = RunTable([view("downloading")]).rows()
    assert rows[0][-1] == "downloading" and rows[1][:2] == ("", "")


def test_without_runs_it_says_what_to_do() -> None:
    assert repr(RunTable([])) == "There is no run yet: panel.deploy() starts one."
    assert RunTable([], 2)._repr_html_() == "<p>No run goes on; 2 runs have ended.</p>"
    assert repr(RunTable([view()], 1)).endswith("1 run has ended.")
