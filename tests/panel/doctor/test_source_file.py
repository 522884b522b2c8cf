"""What the doctor opens: plain files and pipes that are open already, never what has no end or no writer."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.doctor.source_file import open_source


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as raised:
        open_source(path, "--log", "name a log file")
    return str(raised.value)


def test_a_plain_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "prefill.log"
    path.write_bytes(b"one\ntwo\n")
    with open_source(path, "--log", "") as file:
        assert file.readlines() == [b"one\n", b"two\n"]


def test_a_named_pipe_without_a_writer_does_not_hold_the_doctor(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert "is a named pipe" in refusal(path)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/urandom", "/dev/null"])
def test_a_device_is_refused(device: str) -> None:
    assert refusal(Path(device)) == f"--log = '{device}': is a device; name a log file."


def test_a_directory_a_socket_and_nothing_are_refused(tmp_path: Path) -> None:
    assert "is a directory" in refusal(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        assert "is a socket" in refusal(tmp_path / "socket")
    assert "No such file" in refusal(tmp_path / "none")


def test_a_pipe_that_the_shell_has_opened_is_read() -> None:
    """As in `pdpanel doctor --log <(ssh node cat prefill.log)`."""
    reader, writer = os.pipe()
    try:
        os.write(writer, b"line\n")
        os.close(writer)
        with open_source(Path(f"/dev/fd/{reader}"), "--log", "") as file:
            assert file.read() == b"line\n"
    finally:
        os.close(reader)
