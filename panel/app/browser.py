"""Which browser of this host can show a page as a window of its own, and the command for it.

Pure but for `find_browser`, which looks along PATH. Chromium and its relatives have `--app=URL`; others do not. Called
by `window`.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BROWSERS", "Browser", "find_browser"]

# In this order: the free one first, then by how widely they are installed.
BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "microsoft-edge",
    "microsoft-edge-stable",
    "brave-browser",
    "vivaldi",
)
WINDOW_CLASS = "pdpanel"


@dataclass(frozen=True, slots=True)
class Browser:
    """A browser with app windows; `path` is absolute."""

    path: str

    @property
    def is_snap(self) -> bool:
        """True for a snap, which cannot write to hidden folders of the home directory."""
        return "/snap/" in os.path.realpath(self.path) or self.path.startswith("/snap/")

    def profile_dir(self, state_dir: Path, home: Path) -> Path:
        """Returns where the window's profile is kept, apart from the person's own."""
        if self.is_snap:
            return home / "snap" / Path(self.path).name / "common" / "pdpanel"
        return state_dir / "app" / "profile"

    def command(self, url: str, profile: Path) -> list[str]:
        """Returns the command that opens `url` as a window; the browser's own errands are switched off."""
        return [
            self.path,
            f"--app={url}",
            f"--class={WINDOW_CLASS}",
            f"--user-data-dir={profile}",
            "--no-first-run",
            "--no-default-browser-check",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ]


def find_browser(path: str | None = None) -> Browser | None:
    """Returns the first browser of `BROWSERS` on the search path `path`, the process's own by default."""
    for name in BROWSERS:
        found = shutil.which(name, path=path)
        if found is not None:
            return Browser(os.path.abspath(found))
    return None
