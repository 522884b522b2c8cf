"""Opens the files that a person names to the doctor: logs, deployments, scripts.

Refuses what never ends or never begins: devices, directories, named pipes. A pipe that the person's own shell has
opened (`<(ssh node cat log)`, /dev/stdin) is read like a file. Called by `cli_doctor` and `deployment`.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from ...engine.errors import ConfigError

__all__ = ["open_source"]

_KINDS = {
    stat.S_IFDIR: "is a directory",
    stat.S_IFIFO: "is a named pipe",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
    stat.S_IFSOCK: "is a socket",
}
_OPEN_PIPES = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")


def open_source(path: Path, option: str, remedy: str) -> BinaryIO:
    """Returns the file, open for reading.

    Args:
        path: what the person named.
        option: the option by which they named it, for the error.
        remedy: what to name instead, for the error.

    Raises:
        ConfigError: it is no plain file, or cannot be opened.
    """
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISFIFO(mode) and str(path).startswith(_OPEN_PIPES):
            return path.open("rb")
        if not stat.S_ISREG(mode):
            raise ConfigError(option, str(path), _KINDS.get(stat.S_IFMT(mode), "is no plain file"), remedy)
        # O_NONBLOCK: some plain files of /proc wait for more, and a pipe may take the file's place meanwhile.
        return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as error:
        raise ConfigError(option, str(path), error.strerror or "cannot be read", remedy) from None
