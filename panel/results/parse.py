"""A file's bytes to what it holds: a file of JSON results or a log, by what it begins with.

Pure. Called by `cli_results` once per file.
"""

from __future__ import annotations

import io
import re

from ..doctor.log_line import line_parts
from .json_results import read_json_results
from .log_reader import LogReader
from .observed import Observed

__all__ = ["parse_results"]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def parse_results(data: bytes, source: str) -> Observed:
    """Returns what a file holds; whatever its bytes are, it is never an error.

    Args:
        source: the file's path, as findings and rows give it.
    """
    data = data.removeprefix(_BYTE_ORDER_MARK)
    log = _read_log(data, source)
    # A log may begin with a bracket too, and may hold a line of JSON.
    if not log.results and data.lstrip()[:1] in (b"{", b"["):
        return read_json_results(data.decode("utf-8", "replace"), source) or log
    return log


def _read_log(data: bytes, source: str) -> Observed:
    reader = LogReader(source, re.split(r"[/\\]", source)[-1])
    for number, line in enumerate(io.BytesIO(data), 1):
        for part in line.split(b"\r"):
            for text in line_parts(part):
                reader.read(number, text)
    return reader.finish()
