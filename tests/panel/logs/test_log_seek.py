from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pdpanel.engine.errors import RequestError
from pdpanel.panel.logs.log_file import open_log
from pdpanel.panel.logs.rows import rows_after
from pdpanel.panel.logs.seek import moment_of, place_of_time

BEGIN = datetime(2026, 11, 21, 5, 0, 0)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-21T16:05:40.963+00:00", datetime(2026, 11, 21, 16, 5, 40, 963000)),
        ("2026-11-21 05:05:38,069", datetime(2026, 11, 21, 5, 5, 38, 69000)),
        ("2026-11-21T05:05:38.123456Z", datetime(2026, 11, 21, 5, 5, 38, 123456)),
        ("1121 05:05:38.069805", datetime(2025, 11, 21, 5, 5, 38, 69805)),
        ("20261121 05:05:38", datetime(2026, 11, 21, 5, 5, 38)),
        ("11-21 05:05:38", datetime(2025, 11, 21, 5, 5, 38)),
        ("11/21 05:05:38", datetime(2025, 11, 21, 5, 5, 38)),
        ("12.345678", None),
    ],
)
def test_times_as_logs_write_them(text: str, moment: datetime | None) -> None:
    assert moment_of(text, 2025) == moment


def write(path: Path, count: int) -> None:
    with path.open("w") as file:
        for number in range(count):
            stamp = (BEGIN + timedelta(seconds=number)).isoformat(sep=" ")
            file.write(f"{stamp} INFO step {number}\n  detail without a time\n")


@pytest.mark.parametrize("second", [0, 1, 4321, 29_999])
def test_a_time_is_found_by_few_reads(tmp_path: Path, second: int) -> None:
    path = tmp_path / "a.log"
    write(path, 30_000)
    wanted = BEGIN + timedelta(seconds=second)
    with open_log(path) as file:
        at = place_of_time(file, str(wanted))
        assert rows_after(file, at).rows[0].text.endswith(f"step {second}")
        assert at == place_of_time(file, wanted.strftime("%H:%M:%S"))


def test_a_time_after_the_end_is_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    write(path, 10)
    with open_log(path) as file:
        assert place_of_time(file, "2027-01-01 00:00:00") == file.size


def test_what_cannot_be_found_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("no time here\n")
    with open_log(path) as file, pytest.raises(RequestError, match="tell no time"):
        place_of_time(file, "12:00")
    write(path, 3)
    with open_log(path) as file, pytest.raises(RequestError, match="is not a time"):
        place_of_time(file, "noon")
