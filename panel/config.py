"""Where the panel keeps its things: state, cache and a person's own presets.

The only file of the panel that reads the environment. Options win over PDPANEL_STATE_DIR, PDPANEL_CACHE_DIR
and PDPANEL_CONFIG_DIR, which win over platformdirs' folders of this user.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path, user_config_path, user_state_path

__all__ = ["PanelConfig", "inherited_environment", "read_config"]

_APP = "pdpanel"


@dataclass(frozen=True, slots=True)
class PanelConfig:
    """The panel's folders, absolute; none of them needs to exist yet.

    Attributes:
        state_dir: runs and what must survive the panel.
        cache_dir: models and converted weights, shared with the engine.
        config_dir: a person's own presets.
    """

    state_dir: Path
    cache_dir: Path
    config_dir: Path

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
) -> PanelConfig:
    """Returns the folders to use.

    Args:
        environ: the environment to look in; the process's own by default.
        state_dir: an option given by the person, which wins over the environment.
        cache_dir: the same for the cache.
        config_dir: the same for the person's presets.
    """
    env = os.environ if environ is None else environ

    def choose(option: Path | None, variable: str, default: Path) -> Path:
        chosen = option or (Path(env[variable]) if env.get(variable) else default)
        return Path(os.path.abspath(os.path.expanduser(chosen)))

    return PanelConfig(
        state_dir=choose(state_dir, "PDPANEL_STATE_DIR", user_state_path(_APP)),
        cache_dir=choose(cache_dir, "PDPANEL_CACHE_DIR", user_cache_path(_APP)),
        config_dir=choose(config_dir, "PDPANEL_CONFIG_DIR", user_config_path(_APP)),
    )


def inherited_environment() -> dict[str, str]:
    """Returns a copy of this process's environment, on which a run's processes build."""
    return dict(os.environ)
