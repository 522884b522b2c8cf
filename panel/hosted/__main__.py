"""The process of a hosted panel: `python -m pdpanel.panel.hosted`, started by `opening` alone.

What to serve comes as JSON on standard input, where no other user can read it. Serves on 127.0.0.1 until nobody has a
lease any more; its runs go on.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

from ...engine.errors import PdpanelError
from ..access.access import Access
from ..config import PanelConfig
from ..runner.procfs import read_stat
from .lease import take_unused
from .record import PanelFiles, PanelRecord, Wish

_LOOK_S = 0.25


def _watch(lease: int, files: PanelFiles) -> None:
    """Ends this process once nobody uses it; `lease` stays open, so that nobody comes in between."""
    while not take_unused(lease):
        time.sleep(_LOOK_S)
    # Here, since the server hands the signal on when it has shut down.
    files.remove()
    os.kill(os.getpid(), signal.SIGTERM)


def _serve(given: dict[str, Any]) -> None:
    # As `opening` writes it: folders are text there.
    folders = {field.name for field in fields(PanelConfig) if field.type in (Path, "Path")}
    values: dict[str, Any] = {key: Path(text) if key in folders else text for key, text in given["config"].items()}
    config = PanelConfig(**values)
    wanted = given["wish"]
    wish = Wish(tuple(wanted["origins"]), wanted["root_path"], tuple(wanted["frames"]), wanted["port"])
    from ..access.door import read_door
    from ..web.serve import find_port, serve

    listener = find_port("127.0.0.1", wish.port)
    port = listener.getsockname()[1]
    root_path = wish.root_path.replace("{port}", str(port))
    door = read_door("127.0.0.1", root_path=root_path, origins=wish.origins, frames=wish.frames)
    files = PanelFiles.of(config.state_dir, given["name"])
    lease = os.open(files.lease, os.O_RDWR)

    def announce(url: str, access: Access) -> None:
        stat = read_stat(os.getpid())
        record = PanelRecord(
            pid=os.getpid(),
            start_ticks=0 if stat is None else stat.start_ticks,
            port=port,
            token=access.token,
            address=url.partition("?")[0],
            root_path=root_path,
            origins=wish.origins,
            frames=wish.frames,
        )
        files.write(record)
        threading.Thread(target=_watch, args=(lease, files), name="lease", daemon=True).start()

    serve(config, open_browser=False, door=door, listener=listener, announce=announce)


def main() -> None:
    """Serves what standard input says; an error of the person's is the last line of the output."""
    given = json.load(sys.stdin)
    try:
        _serve(given)
    except (PdpanelError, OSError) as error:
        print(error, flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
