from __future__ import annotations

from pathlib import Path

from pdpanel.panel.app.browser import BROWSERS, Browser, find_browser


def program(folder: Path, name: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).touch(0o755)


def test_the_first_of_the_list_is_taken_wherever_it_is_on_the_path(tmp_path: Path) -> None:
    program(tmp_path / "a", "google-chrome")
    program(tmp_path / "b", "chromium")
    (tmp_path / "a" / "chromium").touch(0o644)
    found = find_browser(f"{tmp_path / 'a'}:{tmp_path / 'b'}")
    assert found == Browser(str(tmp_path / "b" / "chromium"))


def test_others_are_no_browser(tmp_path: Path) -> None:
    program(tmp_path / "a", "firefox")
    assert find_browser(str(tmp_path / "a")) is None
    assert "firefox" not in BROWSERS


def test_the_command_has_a_profile_of_its_own_and_asks_nobody() -> None:
    command = Browser("/usr/bin/chromium").command("http://127.0.0.1:7860/?ticket=x", Path("/state/app/profile"))
    assert command[:2] == ["/usr/bin/chromium", "--app=http://127.0.0.1:7860/?ticket=x"]
    assert {"--class=pdpanel", "--user-data-dir=/state/app/profile", "--disable-background-networking"} <= set(command)


def test_a_snap_keeps_its_profile_where_it_may_write() -> None:
    state, home = Path("/home/ann/.local/state/pdpanel"), Path("/home/ann")
    assert Browser("/snap/bin/chromium").profile_dir(state, home) == home / "snap/chromium/common/pdpanel"
    assert Browser("/usr/bin/chromium").profile_dir(state, home) == state / "app/profile"
