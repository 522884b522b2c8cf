"""The commands and options around access: passwords, the audit log, and what `pdpanel` itself takes.

A thin shell, as `panel.cli`, which calls `register`: each command imports what it needs when it is called.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .config import PanelConfig

if TYPE_CHECKING:
    from .access.door import Door

__all__ = [
    "AllowedHostsOption",
    "AuthOption",
    "BehindProxyOption",
    "OriginOption",
    "RootPathOption",
    "TlsCertOption",
    "TlsKeyOption",
    "TokenFileOption",
    "TrustedProxyOption",
    "WebhookOption",
    "open_door",
    "register",
]

AuthOption = Annotated[
    list[str] | None,
    typer.Option("--auth", metavar="USER:HASH", help="Who may sign in; may be repeated, or name a file of them."),
]
TlsCertOption = Annotated[
    Path | None, typer.Option("--tls-cert", metavar="FILE", readable=False, help="Certificate (PEM) to serve with.")
]
TlsKeyOption = Annotated[
    Path | None, typer.Option("--tls-key", metavar="FILE", readable=False, help="Key (PEM) of the certificate.")
]
BehindProxyOption = Annotated[
    bool, typer.Option("--behind-proxy", help="A proxy in front ends TLS; only it may connect.")
]
TrustedProxyOption = Annotated[
    list[str] | None,
    typer.Option("--trusted-proxy", metavar="ADDRESS", help="The proxy's address or network.  [default: loopback]"),
]
AllowedHostsOption = Annotated[
    list[str] | None,
    typer.Option("--allowed-hosts", metavar="NAME[:PORT]", help="A further exact name of the panel; may be repeated."),
]
OriginOption = Annotated[
    list[str] | None,
    typer.Option("--origin", metavar="URL", help="A further exact origin, as https://hub.example; may be repeated."),
]
RootPathOption = Annotated[
    str, typer.Option("--root-path", metavar="PATH", help="The prefix below which a proxy shows the panel.")
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="FILE", readable=False, help="A lasting token for API clients."),
]

WebhookOption = Annotated[
    str, typer.Option("--webhook", metavar="URL", help="Tell this URL of crashes; a file that holds it also goes.")
]


def open_door(
    host: str,
    auth: list[str] | None,
    tls: tuple[Path | None, Path | None],
    proxy: tuple[bool, list[str] | None],
    names: tuple[list[str] | None, list[str] | None],
    root_path: str,
    token_file: Path | None,
) -> Door:
    """Returns the door that the options of `pdpanel` ask for; raises ConfigError for a wrong one."""
    from .access.door import read_door, read_token_file

    return read_door(
        host,
        auth=auth or (),
        tls_cert=tls[0],
        tls_key=tls[1],
        root_path=root_path,
        behind_proxy=proxy[0],
        proxies=proxy[1] or (),
        allowed_hosts=names[0] or (),
        origins=names[1] or (),
        token=read_token_file(token_file) if token_file is not None else "",
    )


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    app.command("hash-password")(_hash_password)
    app.command("audit")(_audit)


def _hash_password() -> None:
    """Ask for a password, and print the hash that --auth takes."""
    from .access.password import hash_password

    if sys.stdin.isatty():
        import getpass

        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            from ..engine.errors import ConfigError

            raise ConfigError("password", "***", "was typed in two ways", "type the same twice")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    typer.echo(hash_password(password).text())


def _audit(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")] = False,
) -> None:
    """Show who did what to the runs, oldest first."""
    import json
    import time
    from dataclasses import asdict

    from .audit import Audit

    config = context.obj
    assert isinstance(config, PanelConfig)
    found = False
    for entry in Audit(config.state_dir).entries():
        found = True
        if as_json:
            typer.echo(json.dumps(asdict(entry)))
            continue
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.at))
        words = [stamp, entry.who or "-", entry.address or "-", entry.action, entry.subject or "-", entry.outcome]
        typer.echo("  ".join(words))
    if not found and not as_json:
        typer.echo("nothing was done yet")
