from __future__ import annotations

from pdpanel.nic_probe import Reading


def test_a_value_is_known_and_converts() -> None:
    reading = Reading("12", "/sys/x").convert(int, "a number")
    assert (reading.value, reading.source, reading.reason, reading.known) == (12, "/sys/x", "", True)


def test_what_does_not_convert_names_the_text() -> None:
    reading = Reading("twelve", "/sys/x").convert(int, "a number")
    assert not reading.known
    assert reading.reason == "reads 'twelve', which is not a number"
    assert reading.source == "/sys/x"


def test_an_unreadable_value_keeps_its_first_reason() -> None:
    reading = Reading[str].unreadable("/sys/x", "permission denied").convert(int, "a number")
    assert reading.reason == "permission denied"
    assert reading.otherwise(7) == 7
    assert str(reading) == "N/A"


def test_zero_and_empty_are_values() -> None:
    assert Reading(0).known
    empty: Reading[tuple[int, ...]] = Reading(())
    assert empty.otherwise((1,)) == ()
