"""Listening sockets: taken early, so that a port in use is told before anything heavy starts."""

from __future__ import annotations

import errno
import socket

from .errors import ConfigError

__all__ = ["bind_listener", "free_port", "port_in_use"]


def free_port(host: str) -> int:
    """Returns a port that nobody listens on at the moment."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


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
