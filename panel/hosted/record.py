"""What is on disk about a hosted panel: where it answers, its token, who may frame it; one file each, mode 0600.

`hosted.__main__` writes it when the panel answers and removes it at its end; `opening` reads it. Knows no HTTP.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from ...engine.errors import ConfigError

__all__ = ["PanelFiles", "PanelRecord", "Wish", "files_in", "read_panel"]

_FOLDER = "panels"


@dataclass(frozen=True, slots=True)
class Wish:
    """How a panel shall be reachable.

    Attributes:
        origins: exact origins of a proxy that shows it, such as "https://hub.example".
        root_path: the prefix below which that proxy shows it; "{port}" stands for the panel's port.
        frames: origins of pages that may show it in a frame.
        port: where it shall listen; None for any free port.
    """

    origins: tuple[str, ...] = ()
    root_path: str = ""
    frames: tuple[str, ...] = ()
    port: int | None = None


@dataclass(frozen=True, slots=True)
class PanelRecord:
    """A hosted panel that answers.

    Attributes:
        pid, start_ticks: its process.
        port: on 127.0.0.1.
        token: the secret of API clients.
        address: of its page in a browser, without any secret, with a slash at its end.
        root_path: the prefix of that, without the slash.
        origins, frames: as wished.
    """

    pid: int
    start_ticks: int
    port: int
    token: str
    address: str
    root_path: str
    origins: tuple[str, ...]
    frames: tuple[str, ...]

    def fits(self, wish: Wish) -> bool:
        """Returns True when a panel as wished is this one."""
        return (
            set(wish.origins) <= set(self.origins)
            and set(wish.frames) <= set(self.frames)
            and wish.root_path.replace("{port}", str(self.port)) == self.root_path
            and wish.port in (None, self.port)
        )


@dataclass(frozen=True, slots=True)
class PanelFiles:
    """The files of one hosted panel, named by its id."""

    record: Path
    lease: Path
    log: Path

    @classmethod
    def of(cls, state_dir: Path, name: str) -> PanelFiles:
        """Returns the files of the panel `name`."""
        folder = state_dir / _FOLDER
        return cls(folder / f"{name}.json", folder / f"{name}.lease", folder / f"{name}.log")

    def write(self, record: PanelRecord) -> None:
        """Writes the record at once or not at all."""
        spare = self.record.with_suffix(f".{os.getpid()}")
        descriptor = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            json.dump(asdict(record), file)
        os.replace(spare, self.record)

    def remove(self) -> None:
        """Removes all of them."""
        for path in (self.record, self.lease, self.log):
            with contextlib.suppress(OSError):
                path.unlink()


def files_in(state_dir: Path) -> tuple[Path, Iterable[PanelFiles]]:
    """Returns the folder, made if it is not there, and the files of each panel in it.

    Raises:
        ConfigError: the folder cannot be made.
    """
    folder = state_dir / _FOLDER
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            "--state-dir", str(state_dir), f"cannot be written: {error.strerror}", "name another"
        ) from None
    names = sorted(path.stem for path in folder.glob("*.lease"))
    return folder, [PanelFiles.of(state_dir, name) for name in names]


def read_panel(path: Path) -> PanelRecord | None:
    """Returns the record in a file, None where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="ascii"))
        return PanelRecord(
            pid=int(found["pid"]),
            start_ticks=int(found["start_ticks"]),
            port=int(found["port"]),
            token=str(found["token"]),
            address=str(found["address"]),
            root_path=str(found["root_path"]),
            origins=tuple(str(value) for value in found["origins"]),
            frames=tuple(str(value) for value in found["frames"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
