"""The dump as a script of one file: how the file is made, and what it does.

`standalone_source` joins the modules of this folder; the script runs `main`. Knows nothing of the panel's own
commands, which call `write_dump` themselves.
"""

from __future__ import annotations

import argparse
import ast
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping

from .write import write_dump

__all__ = ["main", "standalone_source"]

_MODULES_IN_ORDER = ("facts.py", "masks.py", "gather.py", "write.py", "script.py")
_END = """

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
"""
_SCRIPT_S = 20.0


def standalone_source() -> str:
    """Returns the text of probe.pyz, Python in one file; called where the modules lie, not by the script itself."""
    folder = os.path.dirname(os.path.abspath(__file__))
    texts = []
    for name in ("__init__.py", *_MODULES_IN_ORDER):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            texts.append(file.read())
    docstring = ast.get_docstring(ast.parse(texts[0]), clean=False)
    head = f'#!/usr/bin/env python3\n"""{docstring}"""\n\nfrom __future__ import annotations\n'
    return head + "".join(map(_without_its_frame, texts[1:])) + _END


def _without_its_frame(source: str) -> str:
    """Returns a module's text without docstring, relative imports, `__future__` and `__all__`."""
    lines = source.splitlines(keepends=True)
    for node in reversed(ast.parse(source).body):
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        relative = isinstance(node, ast.ImportFrom) and (node.level > 0 or node.module == "__future__")
        exported = isinstance(node, ast.Assign) and ast.get_source_segment(source, node.targets[0]) == "__all__"
        if docstring or relative or exported:
            del lines[node.lineno - 1 : node.end_lineno]
    return "".join(lines)


def main(argv: list[str], environ: Mapping[str, str]) -> int:
    """Makes a dump of this host and returns the exit status: 0, or 2 when it could not be written.

    Args:
        argv: the arguments without the program's name.
        environ: the variables of this process.
    """
    parser = argparse.ArgumentParser(
        prog="probe.pyz", description="Makes a dump of this host for pdpanel: kernel files, and no secrets."
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="where to write it; without one: stdout when piped")
    target = parser.parse_args(argv).file
    if target is None:
        # Without a stdout there is nowhere to pipe to.
        piped = sys.stdout is not None and not sys.stdout.isatty()
        target = "-" if piped else f"{socket.gethostname()}-pdpanel.tar.gz"
    # A thread that hangs in a driver keeps its process from ending, so a child does the work and may be left behind.
    ends, begins = os.pipe()
    child = os.fork()
    if not child:
        _work(target, environ, begins)
    os.close(begins)
    poll = select.poll()
    poll.register(ends, select.POLLIN)
    said = os.read(ends, 1 << 14).decode("utf-8", "replace") if poll.poll(_SCRIPT_S * 1000) else ""
    os.kill(child, signal.SIGKILL)
    status, _, text = said.strip().partition(" ")
    print(text or "The dump was not finished: a driver or the place to write to does not answer.", file=sys.stderr)
    return int(status or "2")


def _work(target: str, environ: Mapping[str, str], begins: int) -> None:
    """Ends the process; says the exit status and a sentence through the pipe `begins`."""
    said = "2 The dump was not finished."
    try:
        summary = write_dump(sys.stdout.buffer if target == "-" else target, environ=environ)
        if sys.stdout is not None:
            sys.stdout.flush()
        said = f"0 {'' if target == '-' else target + ': '}{summary}"
    except OSError as error:
        problem = (error.strerror or str(error)).lower()
        said = f"2 FILE = {target!r} cannot be written: {problem}; name a file in a folder that you may write to."
    finally:
        os.write(begins, said.encode("utf-8", "replace"))
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):  # Whoever waits for their end does not wait for a driver.
            os.dup2(null, descriptor)
        os._exit(0)
