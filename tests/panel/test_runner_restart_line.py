from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from pdpanel.panel.logs.restart_line import is_restart_line
from pdpanel.panel.runner.child import Child


def test_the_second_start_in_a_log_begins_with_a_break(tmp_path: Path) -> None:
    log = tmp_path / "a.log"

    async def start() -> None:
        argv = [sys.executable, "-S", "-c", "print('words', end='')"]
        await Child.start(argv, dict(os.environ), str(tmp_path), log).ended

    asyncio.run(start())
    assert log.read_text() == "words"
    asyncio.run(start())
    first, between, second = log.read_text().splitlines()
    assert (first, second) == ("words", "words")
    assert is_restart_line(between)
