"""The text of `pdpanel.desktop`, as the Desktop Entry Specification 1.5 has it. Pure.

Quoting: an argument of Exec stands in double quotes, in which `"`, backtick, `$` and backslash are escaped; `%` is
written twice; and the whole is a string value, whose backslashes are escaped once more.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...engine.errors import ConfigError
from .browser import WINDOW_CLASS

__all__ = ["desktop_entry", "exec_line"]

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:,@+")


def _string(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")


def _argument(text: str) -> str:
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise ConfigError("Exec", text, "holds a control character", "move pdpanel or its folders to a plain path")
    doubled = text.replace("%", "%%")
    if text and set(text) <= _PLAIN:
        return doubled
    escaped = "".join(f"\\{letter}" if letter in '"`$\\' else letter for letter in doubled)
    return f'"{escaped}"'


def exec_line(command: Sequence[str]) -> str:
    """Returns the value of Exec for a command.

    Raises:
        ConfigError: the program's path holds "=", or an argument a control character: Exec cannot say either.
    """
    if "=" in command[0]:
        raise ConfigError("Exec", command[0], "holds an equals sign", "install pdpanel in a path without one")
    return _string(" ".join(_argument(text) for text in command))


def desktop_entry(command: Sequence[str]) -> str:
    """Returns the file that puts pdpanel into the desktop's menu; `command` opens its window."""
    lines = {
        "Type": "Application",
        "Version": "1.5",
        "Name": "pdpanel",
        "GenericName": "LLM serving panel",
        "Comment": "Serve LLMs with prefill and decode on separate workers",
        "Exec": exec_line(command),
        "Icon": "pdpanel",
        "Terminal": "false",
        "Categories": "Development;",
        "Keywords": "LLM;inference;Mooncake;SGLang;vLLM;",
        "StartupNotify": "true",
        "StartupWMClass": WINDOW_CLASS,
    }
    return "[Desktop Entry]\n" + "".join(f"{key}={value}\n" for key, value in lines.items())
