"""Listening sockets: taken early, so that a port in use is told before anything heavy starts."""

from __future__ import annotations

import errno
import secrets
import socket
from pathlib import Path

from .errors import ConfigError

__all__ = ["bind_listener", "ephemeral_range", "free_port", "port_in_use"]

_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_DEFAULT_EPHEMERAL = (32768, 60999)
# Beside the ports that a plan of workers takes first.
_DRAWN = range(20000, 30000)
_DRAWS = 16


def ephemeral_range(path: Path = _EPHEMERAL_RANGE) -> tuple[int, int]:
    """Returns the first and last port that the kernel gives to outgoing connections."""
    try:
        low, high = path.read_text().split()
        return int(low), int(high)
    except (OSError, ValueError):
        return _DEFAULT_EPHEMERAL


def free_port(host: str) -> int:
    """Returns a port that nobody listens on at the moment.

    It lies below the ephemeral range where that leaves room, so that no outgoing connection has it by the time that
    somebody listens there; two who ask at the same moment hardly get the same one.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    below = _DRAWN[: max(0, ephemeral_range()[0] - _DRAWN.start)]
    drawn = (secrets.choice(below) for _ in range(_DRAWS if below else 0))
    for port in (*drawn, 0):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE or not port:
                    raise
                continue
            return probe.getsockname()[1]
    raise AssertionError("the kernel names a port or an error")


def port_in_use(flag: str, host: str, port: int) -> ConfigError:
    """Returns the error that names the port's flag and one that is free."""
    remedy = f"stop what uses it or use {flag} {free_port(host)}"
    return ConfigError(flag, port, f"the port is in use on {host}", remedy)


def bind_listener(flag: str, host: str, port: int) -> socket.socket:
    """Binds a TCP socket without listening yet: clients are refused, not left waiting, until the server is ready.

    Two processes that start at the same moment can both get this far; `listen` then tells the second one.

    Raises:
        ConfigError: the port is in use or the address is not this host's; names `flag` and a port that is free.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except PermissionError:
        bound.close()
        raise ConfigError(flag, port, "this port needs root", f"use {flag} {free_port(host)}") from None
    except (socket.gaierror, UnicodeError) as error:  # the latter of a label that is empty or too long
        bound.close()
        why = error.strerror if isinstance(error, OSError) else "no name of a host"
        raise ConfigError("--host", host, f"not an address ({why})", "use an address of this host") from None
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise port_in_use(flag, host, port) from None
        raise ConfigError("--host", host, f"cannot listen there ({error.strerror})", "use 127.0.0.1") from None
    return bound
