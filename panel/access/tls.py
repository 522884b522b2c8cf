"""The certificate and key of `--tls-cert` and `--tls-key`, checked before the panel starts to listen.

They are tried as a browser would: a handshake in memory says whether they fit and whether they are expired. Knows no
socket. Times come from the ssl library, which reads the clock.
"""

from __future__ import annotations

import os
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...engine.errors import ConfigError

__all__ = ["TlsFiles", "check_tls"]

# X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL.
_NOT_YET, _EXPIRED = 9, 10


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """A usable pair.

    Attributes:
        names: the exact DNS names and addresses that the certificate is for; wildcards are left out.
    """

    cert: Path
    key: Path
    names: tuple[str, ...] = ()


def _open(field: str, path: Path) -> None:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise ConfigError(field, str(path), f"cannot be read: {error.strerror}", "name a PEM file") from None


def _no_passphrase() -> str:
    raise ValueError("encrypted")


def check_tls(cert: Path | None, key: Path | None) -> TlsFiles | None:
    """Returns the pair, or None when neither is given.

    Raises:
        ConfigError: one is missing or not readable, the key can be read by others or wants a passphrase, they do not
            fit, or the certificate is not valid now.
    """
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        missing, given = ("--tls-cert", key) if cert is None else ("--tls-key", cert)
        raise ConfigError(missing, "", f"is missing beside {given}", "give both files")
    _open("--tls-cert", cert)
    _open("--tls-key", key)
    mode = os.stat(key).st_mode
    if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        raise ConfigError("--tls-key", str(key), "can be used by other users of this host", f"run chmod 600 {key}")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        server.load_cert_chain(cert, key, _no_passphrase)
    except ValueError:
        remedy = "write it without one, as the panel cannot ask"
        raise ConfigError("--tls-key", str(key), "wants a passphrase", remedy) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            problem = f"does not belong to the certificate {cert}"
            raise ConfigError("--tls-key", str(key), problem, "name the key that it was made with") from None
        problem = f"does not make a certificate together with {key}: {error.reason or 'no PEM in it'}"
        raise ConfigError(
            "--tls-cert", str(cert), problem, "name PEM files, the certificate before its chain"
        ) from None
    return TlsFiles(cert, key, _names(server, cert))


def _names(server: ssl.SSLContext, cert: Path) -> tuple[str, ...]:
    """Does a handshake with a client that trusts this very certificate; returns the names in it."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        client.load_verify_locations(cert)
        found = _handshake(server, client)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in (_NOT_YET, _EXPIRED):
            problem = "is expired" if error.verify_code == _EXPIRED else "is not valid yet"
            raise ConfigError("--tls-cert", str(cert), problem, "renew it, and check the clock") from None
        problem = f"is not a certificate for a server: {error.verify_message}"
        raise ConfigError("--tls-cert", str(cert), problem, "name the server's own certificate first") from None
    except ssl.SSLError as error:
        problem = f"does not work in a handshake: {error.reason}"
        raise ConfigError("--tls-cert", str(cert), problem, "name a certificate for a server") from None
    return tuple(name.lower() for kind, name in found if kind in ("DNS", "IP Address") and "*" not in name)


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> list[tuple[str, str]]:
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)]
    waiting = list(sides)
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    entries: Any = (sides[0].getpeercert() or {}).get("subjectAltName", ())
    return [(str(kind), str(name)) for kind, name in entries]
