"""A panel over real runs with real runners, whose workers are the small fake ones of tests/panel.

Usage: real_panel_process.py FOLDER PORT TOKEN DELAY_S BEHAVIOUR, the last two JSON objects by process name. Run as a
file: it is no test and no module.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pdpanel.panel.web.serve import serve

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.panel.conftest import FakeRuns


def main() -> None:
    """Serves until SIGTERM."""
    folder, port, token, delay_s, behaviour = sys.argv[1:]
    fake = FakeRuns(Path(folder))
    fake.delay_s = json.loads(delay_s)
    fake.behaviour = json.loads(behaviour)
    serve(fake.config, port=int(port), open_browser=False, look_s=2.0, runs=fake.runs, token=token)


if __name__ == "__main__":
    main()
