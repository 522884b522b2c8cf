from __future__ import annotations

import pytest
from pdpanel.panel.results.transfer_errors import TransferErrorCount, reports_transfer_error

from .excerpts import TRANSFER_ERROR


@pytest.mark.parametrize(
    "text",
    [
        TRANSFER_ERROR,
        "<TransferEncodingError: 400, message:",
        "  Not enough data to satisfy transfer length header.",
    ],
)
def test_the_error_is_known(text: str) -> None:
    assert reports_transfer_error(text)


@pytest.mark.parametrize(
    "text",
    [
        "Transfer-Encoding: chunked",
        "TransferError",
        "Not enough data to satisfy content length header.",
        "KVTransferError",
    ],
)
def test_near_misses(text: str) -> None:
    assert not reports_transfer_error(text)


def test_errors_wait_for_the_concurrency_of_their_run() -> None:
    count = TransferErrorCount()
    count.end_run(8)
    count.add(3, TRANSFER_ERROR)
    count.end_run(512)
    count.end_run(1024)
    count.add(5, TRANSFER_ERROR)
    count.end_run(None)
    total = count.total()
    assert (total.count, total.concurrencies) == (2, frozenset({512}))


def test_few_lines_are_kept_and_shown_around_the_error() -> None:
    count = TransferErrorCount()
    for line in range(1, 100):
        count.add(line, "x" * 5000 + TRANSFER_ERROR)
    total = count.total()
    assert total.count == 99
    assert [line.number for line in total.first] == [1, 2, 3, 4, 5]
    assert all("TransferEncodingError" in line.text and len(line.text) <= 240 for line in total.first)
