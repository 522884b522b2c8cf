from __future__ import annotations

import pytest
from pdpanel.engine.errors import ConfigError, PdpanelError
from pdpanel.panel.notebook.plain_errors import plain_errors


@plain_errors
def call(error: BaseException | None) -> int:
    """Says what it does."""
    if error is not None:
        raise error
    return 7


def test_a_call_is_as_it_was() -> None:
    assert call(None) == 7
    assert (call.__name__, call.__doc__) == ("call", "Says what it does.")


def test_a_persons_error_is_shown_as_its_sentence() -> None:
    with pytest.raises(ConfigError) as caught:
        call(ConfigError("height", 3, "is small", "choose more"))
    lines = getattr(caught.value, "_render_traceback_")()  # noqa: B009
    assert lines == ["ConfigError: height = 3: is small; choose more."]


def test_what_the_system_refuses_is_a_sentence_too() -> None:
    with pytest.raises(PdpanelError, match=r"No space left on device \(/x\)\."):
        call(OSError(28, "No space left on device", "/x"))


def test_a_bug_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        call(ZeroDivisionError())
    assert not hasattr(caught.value, "_render_traceback_")
