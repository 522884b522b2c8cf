from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.finding import Finding, Severity
from pdpanel.panel.doctor.log import explain_log
from pdpanel.panel.doctor.log_line import LONGEST_LINE, bounded_lines
from pdpanel.panel.doctor.signatures.catalog import SIGNATURES
from pdpanel.panel.doctor.signatures.signature import Signature

Table = Callable[[Iterable[Finding]], dict[str, Finding]]

_REGISTER = "E1212 12:06:27.214640   865 rdma_context.cpp:205] Failed to register memory 0x7fd4: Bad address [14]"
_FLUSH = "E1212 12:06:28.000000   865 worker_pool.cpp:9] Worker: Process failed for slice: Work Request Flushed Error"


def test_a_finding_shows_the_first_line_and_counts_the_others(by_id: Table) -> None:
    report = explain_log(["start", _REGISTER, _REGISTER, _REGISTER], "prefill.log")
    finding = by_id(report.findings)["log-gpu-memory-not-registered"]
    assert finding.evidence[0].source == "prefill.log:2"
    assert finding.evidence[0].value == _REGISTER
    assert "3 such lines, the last is line 4, at 1212 12:06:27.214640" in finding.evidence[-1].value
    assert report.lines == 4
    assert report.last_time == "1212 12:06:27.214640"


def test_what_the_line_names_stands_in_the_reason(by_id: Table) -> None:
    finding = by_id(explain_log(["No matched device found: mlx5_9"], "x").findings)["log-device-not-found"]
    assert "mlx5_9" in finding.reason


def test_what_a_line_does_not_name_is_said_so(by_id: Table) -> None:
    finding = by_id(explain_log(["No matched device found"], "x").findings)["log-device-not-found"]
    assert "not said" in finding.reason


def test_the_first_error_is_marked_and_comes_first() -> None:
    lines = ["ImportError: libcudart.so.12: cannot open shared object file", _REGISTER]
    report = explain_log(lines, "x")
    assert report.first_error == report.findings[0].id == "log-cudart-missing"
    marked = [finding.id for finding in report.findings if any("first error" in one.value for one in finding.evidence)]
    assert marked == ["log-cudart-missing"]


def test_noise_after_an_error_is_information_and_names_the_error(by_id: Table) -> None:
    finding = by_id(explain_log([_REGISTER, _FLUSH], "x").findings)["log-flushed"]
    assert finding.severity is Severity.INFO
    assert "line 1" in finding.reason


def test_noise_without_an_error_before_it_keeps_its_weight(by_id: Table) -> None:
    finding = by_id(explain_log([_FLUSH], "x").findings)["log-flushed"]
    assert finding.severity is Severity.WARNING


def test_an_engine_that_gives_up_without_a_reason_is_an_error(by_id: Table) -> None:
    report = explain_log(["RuntimeError: Mooncake memory registration failed."], "x")
    assert by_id(report.findings)["log-registration-failed"].severity is Severity.ERROR
    assert report.first_error == "log-registration-failed"


def test_failed_transfers_are_counted_by_room(by_id: Table) -> None:
    lines = [
        f"Decode transfer failed for request rank=0 rid='a' bootstrap_room={room} with exception "
        f"KVTransferError(bootstrap_room={room}): Failed to get kvcache from prefill instance, it might be dead"
        for room in (11, 5, 11, 7)
    ]
    findings = by_id(explain_log(lines, "decode.log").findings)
    assert "log-prefill-lost" in findings
    assert "3 rooms, such as 5, 7, 11" in findings["log-kv-transfer-error"].evidence[-1].value


def test_an_error_that_nothing_explains_is_shown(by_id: Table) -> None:
    report = explain_log(
        ["ok", "Traceback (most recent call last):", '  File "x"', "KeyError: 'q_proj'", "x: ERROR"], "x"
    )
    finding = by_id(report.findings)["log-unexplained-error"]
    assert finding.evidence[0].source == "x:4"
    assert finding.severity is Severity.INFO
    assert report.first_error == "log-unexplained-error"


def test_only_the_first_unexplained_error_is_shown() -> None:
    report = explain_log(["KeyError: 1", "KeyError: 2"], "x")
    assert [finding.id for finding in report.findings] == ["log-unexplained-error"]


def test_an_empty_log_says_so() -> None:
    assert [finding.id for finding in explain_log([], "x").findings] == ["log-empty"]


def test_control_sequences_and_bytes_of_another_encoding_are_no_obstacle(by_id: Table) -> None:
    coloured = f"\x1b[31m\x1b[1m{_REGISTER}\x1b[0m\r\n".encode()
    utf16 = "KeyError: 1\r\n".encode("utf-16-le")
    report = explain_log([b"\xff\xfe\x00\x80", coloured, utf16], "x")
    finding = by_id(report.findings)["log-gpu-memory-not-registered"]
    assert finding.evidence[0].value == _REGISTER


def test_an_error_behind_a_progress_bar_is_found(by_id: Table) -> None:
    report = explain_log([f"\rLoading: 10%\rLoading: 20%\r{_REGISTER}"], "x")
    assert "log-gpu-memory-not-registered" in by_id(report.findings)


def test_a_long_line_is_cut_where_it_is_shown(by_id: Table) -> None:
    finding = by_id(explain_log([_REGISTER + "x" * 5000], "x").findings)["log-gpu-memory-not-registered"]
    assert len(finding.evidence[0].value) <= 300


def test_a_match_far_behind_is_shown_with_its_surroundings(by_id: Table) -> None:
    finding = by_id(explain_log(["y" * 2000 + " CUDA error: invalid device ordinal"], "x").findings)[
        "log-invalid-device"
    ]
    assert "invalid device ordinal" in finding.evidence[0].value


def test_a_file_is_read_in_bounded_pieces() -> None:
    stream = io.BytesIO(b"a" * (3 * LONGEST_LINE) + b"\n" + _REGISTER.encode() + b"\nlast")
    lines = list(bounded_lines(stream))
    assert [len(line) for line in lines] == [LONGEST_LINE, len(_REGISTER) + 1, 4]


def test_lines_are_taken_one_by_one() -> None:
    """A log of any size fits: nothing is kept but what was found."""
    taken: list[int] = []

    def endless() -> Iterable[str]:
        for number in range(20_000):
            taken.append(number)
            yield f"KVTransferError(bootstrap_room={number}): x"

    report = explain_log(endless(), "x")
    assert report.lines == len(taken) == 20_000
    assert sum(len(one.value) for finding in report.findings for one in finding.evidence) < 2000


@given(st.lists(st.text(max_size=200) | st.binary(max_size=200), max_size=20))
def test_no_text_raises(lines: list[str | bytes]) -> None:
    report = explain_log(lines, "x")  # type: ignore[arg-type]
    assert report.lines == len(lines)
    for finding in report.findings:
        assert "\x1b" not in finding.reason
        assert all("\n" not in one.value for one in finding.evidence)


@given(st.sampled_from(SIGNATURES), st.text(alphabet="aA0 .:,'\"[](){}=-_/\\x", max_size=40), st.integers(1, 200))
def test_text_around_a_needle_raises_nothing(signature: Signature, filling: str, times: int) -> None:
    line = (filling + signature.needles[0]) * times
    explain_log([line, line[::-1]], "x")


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda signature: signature.rule.id)
def test_no_pattern_can_backtrack_for_long(signature: Signature) -> None:
    """A repetition without a bound repeats single characters and stands in no other repetition."""
    _walk(import_module("re._parser").parse(signature.pattern), repeated=False)


def _walk(nodes: Any, *, repeated: bool) -> None:
    for kind, argument in nodes:
        if str(kind) in {"MAX_REPEAT", "MIN_REPEAT"}:
            _, most, body = argument
            bounded = int(most) <= 512
            assert bounded or (
                not repeated and len(body) == 1 and str(body[0][0]) in {"IN", "LITERAL", "ANY", "NOT_LITERAL"}
            )
            # One or none is no repetition.
            _walk(body, repeated=repeated or int(most) > 1)
        elif str(kind) == "SUBPATTERN":
            _walk(argument[-1], repeated=repeated)
        elif str(kind) == "BRANCH":
            for branch in argument[1]:
                _walk(branch, repeated=repeated)


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda signature: signature.rule.id)
def test_the_longest_lines_are_searched(signature: Signature) -> None:
    """The suite's time-out catches a pattern that does not come to an end on a line made for it."""
    for needle in signature.needles:
        for filling in ("{0}", "{0}: ", "{0}(", "'{0}", "E1 x] {0}0x1", "{0} from {0} 1"):
            text = (filling.format(needle) * 8192)[:8192]
            signature.search(text, text.lower())
