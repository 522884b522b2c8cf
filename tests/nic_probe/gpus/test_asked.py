from __future__ import annotations

from typing import Any

from pdpanel.nic_probe.gpus.asked import asked, failure


def refuse(error: Exception) -> Any:
    raise error


def test_the_first_way_that_answers_counts() -> None:
    assert asked(lambda: refuse(ValueError("Not Supported")), lambda: 5) == {"value": 5}
    assert asked(lambda: None, lambda: "N/A", lambda: 0, lambda: 1) == {"value": 0}


def test_without_an_answer_the_first_failure_is_the_reason() -> None:
    assert asked(lambda: refuse(ValueError("Not Supported.")), lambda: None) == {"reason": "not supported"}
    assert asked(lambda: "N/A") == {"reason": "reads N/A"}
    assert asked(lambda: None) == {"reason": "is not known"}


def test_whatever_is_raised_is_a_reason() -> None:
    assert asked(lambda: refuse(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")))["reason"]
    assert asked(lambda: refuse(KeyError())) == {"reason": "KeyError"}


def test_a_failure_is_one_line() -> None:
    assert failure(ValueError("a\n\tB.")) == "a b"
    text = "Error code:\n\t2 | AMDSMI_STATUS_NOT_SUPPORTED - Feature not supported"
    assert failure(ValueError(text)) == "feature not supported"
