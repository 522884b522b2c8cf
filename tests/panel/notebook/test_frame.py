from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.notebook.frame import frame_html


@given(st.text(max_size=40) | st.just("</script><script>hacked=1</script>"))
def test_nothing_ends_the_script_or_an_attribute(text: str) -> None:
    made = frame_html("x", f"http://localhost:1/?ticket={text}", f"http://localhost:1/{text}", [text], note=text)
    assert made.count("<script>") == made.count("</script>") == 1
    before = made.partition("<script>")[0]
    assert re.sub(r'"[^"<>]*"', '""', before).count("<") == 8, "no tag but ours"
