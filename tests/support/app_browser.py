"""Chromium without a screen behind the name that `pdpanel --app` looks for, so that a test can look into its window."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

__all__ = ["debug_port", "pretended_chromium"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"

_SCRIPT = """#!/bin/sh
printf '%s\\n' "$@" > {arguments}
exec {chromium} --headless=new --no-sandbox --remote-debugging-port=0 "$@"
"""


def pretended_chromium(folder: Path) -> Path:
    """Makes a program `chromium` in `folder` and returns the file in which its arguments will be, one a line."""
    folder.mkdir()
    arguments = folder / "arguments"
    program = folder / "chromium"
    program.write_text(_SCRIPT.format(arguments=arguments, chromium=CHROMIUM))
    program.chmod(0o755)
    return arguments


def debug_port(profile: Path, deadline_s: float = 60.0) -> int:
    """Waits until the browser with this profile takes commands, and returns its port for them."""
    file = profile / "DevToolsActivePort"
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if file.exists() and (lines := file.read_text().splitlines()):
            return int(lines[0])
        time.sleep(0.05)
    raise AssertionError(f"{file} did not come")
