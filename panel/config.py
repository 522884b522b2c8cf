"""Where the panel keeps its things: state, cache and a person's own presets.

The only file of the panel that reads the environment. Options win over PDPANEL_STATE_DIR, PDPANEL_CACHE_DIR
and PDPANEL_CONFIG_DIR, which win over platformdirs' folders of this user. PDPANEL_LOG_MB says how long a log may be,
PDPANEL_RUNTIME_DIR where the starts of this user meet.
"""

from __future__ import annotations

import getpass
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from platformdirs import user_cache_path, user_config_path, user_data_path, user_state_path

from ..engine.errors import ConfigError
from .webhook.target import read_target

__all__ = ["PanelConfig", "Person", "data_home", "inherited_environment", "read_config", "this_person"]

_APP = "pdpanel"
_LOG_MB = 256
_MOST_LOG_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class PanelConfig:
    """The panel's folders, absolute; none of them needs to exist yet.

    Attributes:
        state_dir: runs and what must survive the panel.
        cache_dir: models and converted weights, shared with the engine.
        config_dir: a person's own presets.
        log_bytes: a process's log is cut when it is longer than this.
        webhook: the URL that hears of crashes, a secret; empty for none.
        runtime_dir: where all starts of this user on this host meet, whatever the state_dir.
    """

    state_dir: Path
    cache_dir: Path
    config_dir: Path
    log_bytes: int = _LOG_MB << 20
    webhook: str = field(default="", repr=False)
    runtime_dir: Path = field(default_factory=lambda: _runtime_dir({}))

    @property
    def runs_dir(self) -> Path:
        """The folder with one directory per run."""
        return self.state_dir / "runs"


def read_config(
    environ: Mapping[str, str] | None = None,
    *,
    state_dir: Path | None = None,
    cache_dir: Path | None = None,
    config_dir: Path | None = None,
    webhook: str = "",
) -> PanelConfig:
    """Returns the folders to use.

    Args:
        environ: the environment to look in; the process's own by default.
        state_dir: an option given by the person, which wins over the environment.
        cache_dir: the same for the cache.
        config_dir: the same for the person's presets.
        webhook: a URL, or a file that holds it; wins over PDPANEL_WEBHOOK and the file `webhook` of the config folder.

    Raises:
        ConfigError: PDPANEL_LOG_MB is no number of MiB, or the webhook is no URL.
    """
    env = os.environ if environ is None else environ

    def choose(option: Path | None, variable: str, default: Path) -> Path:
        chosen = option or (Path(env[variable]) if env.get(variable) else default)
        return Path(os.path.abspath(os.path.expanduser(chosen)))

    config = choose(config_dir, "PDPANEL_CONFIG_DIR", user_config_path(_APP))
    target = read_target(webhook or env.get("PDPANEL_WEBHOOK", ""), config)
    return PanelConfig(
        state_dir=choose(state_dir, "PDPANEL_STATE_DIR", user_state_path(_APP)),
        cache_dir=choose(cache_dir, "PDPANEL_CACHE_DIR", user_cache_path(_APP)),
        config_dir=config,
        log_bytes=_log_bytes(env.get("PDPANEL_LOG_MB", "")),
        webhook="" if target is None else target.url,
        runtime_dir=_runtime_dir(env),
    )


def _runtime_dir(env: Mapping[str, str], user: Path | None = None) -> Path:
    """Returns the folder that every start of this user on this host finds, from a login, cron or another panel.

    XDG_RUNTIME_DIR is not asked: it differs between those, and after `su` it is another user's.
    """
    if env.get("PDPANEL_RUNTIME_DIR"):
        return Path(os.path.abspath(os.path.expanduser(env["PDPANEL_RUNTIME_DIR"])))
    user = user or Path(f"/run/user/{os.geteuid()}")
    if os.access(user, os.W_OK | os.X_OK):
        return user / _APP
    return Path(tempfile.gettempdir()) / f"{_APP}-{os.geteuid()}"


def _log_bytes(text: str) -> int:
    if not text:
        return _LOG_MB << 20
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= _MOST_LOG_MB and len(text) < 9):
        problem = f"is not a whole number from 1 to {_MOST_LOG_MB}"
        raise ConfigError("PDPANEL_LOG_MB", text, problem, "say how many MiB a process's log may have")
    return int(text) << 20


@dataclass(frozen=True, slots=True)
class Person:
    """Who uses the panel.

    Attributes:
        home: their home directory.
        user: their name on this host; empty when it has none.
    """

    home: str
    user: str


def this_person() -> Person:
    """Returns who runs this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        user = ""
    return Person(os.path.expanduser("~"), user)


def data_home() -> Path:
    """Returns the folder of this user's menu entries and icons, which XDG_DATA_HOME can move."""
    return user_data_path()


def inherited_environment() -> dict[str, str]:
    """Returns a copy of this process's environment, on which a run's processes build."""
    return dict(os.environ)
