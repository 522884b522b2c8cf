"""Hosts that are network namespaces on one bridge. Needs root and iproute2; `curl` asks from inside of one."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from exported_scripts import PATIENCE_S

__all__ = ["NAMES", "Hosts", "run"]

NAMES = ("a", "b", "stranger")


def run(*words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, input=given, capture_output=True, text=True, timeout=PATIENCE_S)


class Hosts:
    """Namespaces on one bridge, which is in a namespace of its own."""

    def __init__(self) -> None:
        # By chance, so that neither a run beside this one nor what a crashed one left is in the way.
        self._prefix = f"pdp{secrets.token_hex(4)}"
        self._made: list[str] = []

    def inside(self, name: str) -> tuple[str, ...]:
        return ("ip", "netns", "exec", f"{self._prefix}{name}")

    def address(self, name: str) -> str:
        return f"10.213.7.{NAMES.index(name) + 1}"

    def make(self) -> str:
        """Makes them; returns why not when that cannot be."""
        switch = f"{self._prefix}switch"
        try:
            for name in (switch, *(f"{self._prefix}{name}" for name in NAMES)):
                self._do("ip", "netns", "add", name)
                self._made.append(name)
                self._do("ip", "-n", name, "link", "set", "lo", "up")
            self._do("ip", "-n", switch, "link", "add", "br0", "type", "bridge")
            self._do("ip", "-n", switch, "link", "set", "br0", "up")
            for name in NAMES:
                space = f"{self._prefix}{name}"
                self._do(*f"ip -n {space} link add eth0 type veth peer name to-{name} netns {switch}".split())
                self._do("ip", "-n", switch, "link", "set", "dev", f"to-{name}", "master", "br0", "up")
                self._do("ip", "-n", space, "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
                self._do("ip", "-n", space, "link", "set", "eth0", "up")
        except OSError as error:
            return str(error)
        return ""

    def remove(self) -> None:
        for name in reversed(self._made):
            run("ip", "netns", "del", name)

    def reaches(self, name: str, address: str, port: int) -> bool:
        script = 'timeout 2 bash -c \'exec 3<>"/dev/tcp/$1/$2"\' probe "$1" "$2"'
        return run(*self.inside(name), "bash", "-c", script, "probe", address, str(port)).returncode == 0

    def generate(
        self, url: str, ids: Sequence[int], count: int = 12, more: Mapping[str, Any] = {}, name: str = "stranger"
    ) -> list[int]:
        """Returns the tokens of a greedy answer, asked for from inside of a host.

        Args:
            more: further fields of the request.
        """
        sampling = {"temperature": 0, "max_new_tokens": count, "ignore_eos": True}
        body = json.dumps({"input_ids": list(ids), "sampling_params": sampling, **more})
        words = (
            "curl",
            "-sS",
            "--fail-with-body",
            "--noproxy",
            "*",
            "-H",
            "Content-Type: application/json",
            "-d",
            "@-",
        )
        done = run(*self.inside(name), *words, f"{url}/generate", given=body)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)["output_ids"]

    def ask(self, name: str, url: str) -> Any:
        """Returns the JSON that a GET from inside of a host is answered with."""
        done = run(*self.inside(name), "curl", "-sS", "--noproxy", "*", url)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def listening(self, name: str) -> str:
        """Returns the lines of `ss` about sockets that listen in a host."""
        return run(*self.inside(name), "ss", "-Hltn").stdout

    def _do(self, *words: str) -> None:
        done = run(*words)
        if done.returncode:
            raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")
