"""An engine that computes nothing, for tests of what starts and stops engines; run as a program.

`fake_engine.py PORT [--host ADDRESS] [--status N] [--stubborn] [--escaped FILE]`: answers every request on ADDRESS,
127.0.0.1 by default, with that status. Stubborn, it does not end on SIGTERM. It may start a child in a session of its
own, whose pid it writes to FILE.
"""

from __future__ import annotations

import argparse
import http.server
import signal
import subprocess
from pathlib import Path


class Answer(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    do_POST = do_GET


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--status", type=int, default=200)
    parser.add_argument("--stubborn", action="store_true")
    parser.add_argument("--escaped", type=Path)
    options = parser.parse_args()
    if options.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.escaped:
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        options.escaped.write_text(str(child.pid))
    Answer.status = options.status
    with http.server.ThreadingHTTPServer((options.host, options.port), Answer) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
